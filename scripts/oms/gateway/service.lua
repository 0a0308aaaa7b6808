-- Gateway: the one address of the shop. It says what is forwarded where and within which
-- limits; the host forwards, and no Lua runs for it.
local app = require "app"
local conf = require "conf"
local gate = require "gate"
local status = require "status"

local gateway = app.service "gateway"
local edge = gate.on(gateway)

-- What answers lack, as browsers are to read it.
edge:headers {
  ["X-Content-Type-Options"] = "nosniff",
  ["X-Frame-Options"] = "DENY",
  ["Referrer-Policy"] = "no-referrer",
}

-- Pages of these origins may call: a front end that is developed on this machine.
local front_ends = { "http://localhost:3000", "http://127.0.0.1:3000" }
edge:cors { origins = conf.option("cors_origins", front_ends) }

-- Where they are stands in the settings: upstreams.orders, or ORRERY_UPSTREAM_ORDERS. An
-- order waits for three others in a row, so the one with the least to do is asked.
local orders = edge:upstream("orders", { balance = "least_busy" })
local inventory = edge:upstream "inventory"
local payments = edge:upstream "payments"
local users = edge:upstream "users"
-- An open socket holds a connection: as many as a worker has clients.
local notifications = edge:upstream("notifications", { connections_max = 4096 })

-- Of each client, by its address, in all gateways together.
local all = edge:limit("all", {
  requests = conf.option("requests_per_s", 2000), per_s = 1,
  burst = conf.option("requests_burst", 4000),
})
local registering = edge:limit("registering", {
  requests = conf.option("registrations_per_minute", 60), per_s = 60,
})
local logging_in = edge:limit("logging_in", {
  requests = conf.option("logins_per_minute", 300), per_s = 60,
})

-- The acquirer is nobody's to call but payments', and has no route. A little longer than
-- the services give themselves: five seconds, and ten for the steps of an order.
local usual = { limits = { all }, timeout_ms = 6000 }
edge:route("/api/v1/orders", orders, { limits = { all }, timeout_ms = 12000 })
edge:route("/api/v1/inventory", inventory, usual)
edge:route("/api/v1/payments", payments, usual)
edge:route("/api/v1/users", users, usual)
edge:route("/api/v1/notifications", notifications, usual)

-- A password is hashed at some cost, and may be guessed. The longest prefix wins.
edge:route("/api/v1/users/register", users, {
  limits = { all, registering }, timeout_ms = 6000,
})
edge:route("/api/v1/users/login", users, {
  limits = { all, logging_in }, timeout_ms = 6000,
})

edge:route("/ws", notifications, {
  limits = { all }, upgrade = true,
  upgrades_per_client_max = conf.option("sockets_per_client", 100),
})

-- For operators, on admin_port: how the upstreams are.
gateway:get("/", { admin = true }, function()
  return 200, status.page(gate.status()), {
    ["Content-Type"] = "text/html; charset=utf-8", ["Cache-Control"] = "no-store",
  }
end)

gateway:get("/upstreams", { admin = true, answers = { [200] = status.shape } }, function()
  return 200, status.list(gate.status()), { ["Cache-Control"] = "no-store" }
end)

return gateway
