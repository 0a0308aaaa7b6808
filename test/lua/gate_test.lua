-- What a gateway's script declares becomes plain tables, complete; a wrong declaration is
-- an error at its own line.
local app = require "app"
local conf = require "conf"
local gate = require "gate"
local test = require "test"

local at_http = { address = "http://127.0.0.1:8001" }

local function on_new()
  local service = app.service "edge"
  return gate.on(service), service.gate
end

-- The error of fn, which has to name this file.
local function complaint(fn)
  local ok, why = pcall(fn)
  test.equal(ok, false)
  test.match(why, "gate_test%.lua:%d+: ")
  return (why:gsub("^.-gate_test%.lua:%d+: ", ""))
end

test.case("an upstream has everything that was not told", function()
  local edge, made = on_new()
  edge:upstream("orders", at_http)
  local orders = made.upstreams[1]
  test.match(orders.at, "gate_test%.lua:%d+$")
  orders.at = nil
  test.equal(orders, {
    name = "orders", address = "http://127.0.0.1:8001", balance = "round_robin",
    resolve_ms = 1000, connect_timeout_ms = 1000, connections_max = 512, idle_max = 64,
    idle_timeout_ms = 30000,
    health = {
      path = "/ready", interval_ms = 500, timeout_ms = 1000, fall = 2, rise = 1,
    },
    breaker = { failures = 5, open_ms = 2000 },
    retry = { attempts_max = 3, ratio = 0.2, per_s = 10 },
  })
end)

test.case("an upstream without an address is where the settings say", function()
  test.replace(conf, "get", function(name)
    return name == "upstreams" and { orders = "http://elsewhere:1" } or nil
  end)
  local edge, made = on_new()
  edge:upstream "orders"
  test.equal(made.upstreams[1].address, "http://elsewhere:1")
  test.match(complaint(function() edge:upstream "users" end),
    "^upstream 'users': has no address: .*ORRERY_UPSTREAM_USERS$")
end)

test.case("a route is kept with the names of what it uses", function()
  local edge, made = on_new()
  local orders = edge:upstream("orders", at_http)
  local all = edge:limit("all", { requests = 500, per_s = 1, burst = 1000 })
  local function before() end
  edge:route("/api/v1/orders", orders, {
    limits = { all }, timeout_ms = 12000, rewrite = "/orders", before = before,
  })
  local route = made.routes[1]
  route.at = nil
  test.equal(route, {
    prefix = "/api/v1/orders", rewrite = "/orders", upstream = "orders",
    limits = { "all" }, timeout_ms = 12000, idle_timeout_ms = 60000, upgrade = false,
    upgrades_per_client_max = 0, before = before,
  })
end)

test.case("the place of a declaration is the line that makes it", function()
  local edge, made = on_new()
  local _, here = pcall(error, "", 2)
  edge:upstream("orders", at_http)
  local line = tonumber(here:match(":(%d+)"))
  test.equal(tonumber(made.upstreams[1].at:match(":(%d+)$")), line + 1)
end)

test.case("names and prefixes are taken once, and the first place is told", function()
  local edge = on_new()
  local orders = edge:upstream("orders", at_http)
  test.match(complaint(function() edge:upstream("orders", at_http) end),
    "^upstream: 'orders' is there already, at .*gate_test%.lua:%d+$")
  edge:route("/x", orders)
  test.match(complaint(function() edge:route("/x", orders) end),
    "^route '/x': is there already, at .*gate_test%.lua:%d+$")
  edge:limit("all", { requests = 1, per_s = 1 })
  test.match(complaint(function() edge:limit("all", { requests = 1, per_s = 1 }) end),
    "^limit: 'all' is there already")
end)

test.case("what a route uses is of this gateway", function()
  local edge, other = on_new(), on_new()
  local orders = edge:upstream("orders", at_http)
  local foreign = other:upstream("orders", at_http)
  local limit = other:limit("all", { requests = 1, per_s = 1 })
  test.match(complaint(function() edge:route("/x", foreign) end), "goes to no upstream")
  test.match(complaint(function() edge:route("/x", "orders") end), "goes to no upstream")
  test.match(complaint(function() edge:route("/x", orders, { limits = { limit } }) end),
    "'limits' has to hold what edge:limit gave")
  test.match(complaint(function() edge:route("/x", orders, { limits = "all" }) end),
    "'limits' has to be a list")
  test.match(complaint(function() edge:route("/x", orders, { before = "f" }) end),
    "'before' has to be a function")
end)

test.case("what nobody knows is named", function()
  local edge = on_new()
  local orders = edge:upstream("orders", at_http)
  test.equal(complaint(function() edge:upstream("users", { helth = {} }) end),
    "upstream 'users': 'helth' is not known here")
  test.equal(complaint(function() edge:route("/x", orders, { timeout_s = 1 }) end),
    "route '/x': 'timeout_s' is not known here")
  local limit = { requests = 1, per_s = 1, x = 1 }
  test.equal(complaint(function() edge:limit("l", limit) end),
    "limit 'l': 'x' is not known here")
  test.match(complaint(function() edge:cors { origin = "x" } end), "^cors: 'origin")
  test.match(complaint(function() edge:headers { ["a b"] = "c" } end), "^headers: 'a b'")
end)

test.case("a name can be that of a variable of the environment", function()
  local edge = on_new()
  for _, name in ipairs { "", "Orders", "9", "a b", "a.b", 7, ("x"):rep(65) } do
    test.match(complaint(function() edge:upstream(name, at_http) end),
      "^upstream: a name")
  end
end)

test.case("a service becomes a gateway once", function()
  local service = app.service "edge"
  gate.on(service)
  test.equal(complaint(function() gate.on(service) end), "gate.on takes a service, once")
  test.equal(complaint(function() gate.on "edge" end), "gate.on takes a service, once")
end)

test.case("a request goes on with headers", function()
  test.equal(gate.with { ["X-User"] = "7" }, { with = { ["x-user"] = "7" } })
  test.match(complaint(function() gate.with { ["X-User"] = "7\r\nx: y" } end),
    "^gate%.with: 'X%-User' has to be one line of text")
  test.match(complaint(function() gate.with { Host = "elsewhere" } end),
    "^gate%.with: 'Host' belongs to the connection")
end)

test.case("where nothing is forwarded no address is known", function()
  test.equal(gate.status(), {})
end)

return test.suite()
