-- What a gateway forwards is told in a line for each route.
local app = require "app"
local describe = require "describe"
local gate = require "gate"
local gate_describe = require "gate_describe"
local json = require "json"
local test = require "test"

local function sample()
  local service = app.service "edge"
  local edge = gate.on(service)
  local orders = edge:upstream("orders", { address = "http://a:1,http://b:2" })
  local all = edge:limit("all", { requests = 500, per_s = 1, burst = 1000 })
  local key = edge:limit("key", { requests = 6, per_s = 60, by = "header:X-Key" })
  edge:route("/api/v1/orders", orders, { limits = { all, key }, rewrite = "/orders" })
  edge:route("/ws", orders, { upgrade = true, before = function() end })
  service:get("/", { admin = true }, function() end)
  return service
end

test.case("a route tells where it leads and within what", function()
  local first, second = unpack(gate_describe.of(sample().gate))
  test.equal(gate_describe.line(first), "/api/v1/orders  to orders /orders at "
    .. "http://a:1,http://b:2  (all: 500 in 1 s by client, burst 1000; "
    .. "key: 6 in 60 s by header x-key, burst 6)")
  test.equal(gate_describe.line(second),
    "/ws  to orders at http://a:1,http://b:2  (WebSocket; before)")
end)

test.case("a description of a service has it, and marks what is for operators", function()
  local told = describe.text(sample())
  test.match(told, "\n  GET    /  %(admin%)\n")
  test.match(told, "\nforwarded\n  /api/v1/orders  to orders ")
  local plain = json.decode(json.encode(describe.service(sample())))
  test.equal(plain.forwarded[1].limits[2],
    { name = "key", requests = 6, per_s = 60, burst = 6, by = "header x-key" })
  test.equal(describe.service(app.service "other").forwarded, nil)
end)

return test.suite()
