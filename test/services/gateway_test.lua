-- The gateway of the shop: what the world reaches through it, and what it does not.
local conf = require "conf"
local json = require "json"
local test = require "test"

local get = conf.get
test.replace(conf, "get", function(name)
  if name ~= "upstreams" then
    return get(name)
  end
  return {
    orders = "http://127.0.0.1:8001", inventory = "http://127.0.0.1:8002",
    payments = "http://127.0.0.1:8003", users = "http://127.0.0.1:8004",
    notifications = "http://127.0.0.1:8005",
  }
end)
local gateway = test.service "oms/gateway"

local gate = require "gate"

local function routes()
  local found = {}
  for _, route in ipairs(gateway.gate.routes) do
    found[route.prefix] = route
  end
  return found
end

local function address(changes)
  local made = {
    upstream = "orders", address = "127.0.0.1:8001", up = true, breaker = "closed",
    active = 1, idle = 2, attempts = 300, failures = 4,
  }
  for name, value in pairs(changes or {}) do
    made[name] = value
  end
  return made
end

test.case("each service but the acquirer is reached below its own prefix", function()
  local led = {}
  for prefix, route in pairs(routes()) do
    led[prefix] = route.upstream
  end
  test.equal(led, {
    ["/api/v1/orders"] = "orders", ["/api/v1/inventory"] = "inventory",
    ["/api/v1/payments"] = "payments", ["/api/v1/users"] = "users",
    ["/api/v1/users/register"] = "users", ["/api/v1/users/login"] = "users",
    ["/api/v1/notifications"] = "notifications", ["/ws"] = "notifications",
  })
end)

test.case("every route has a limit, and no script runs for it", function()
  for prefix, route in pairs(routes()) do
    test.equal(route.limits[1], "all", prefix)
    test.equal(route.before, nil, prefix)
  end
end)

test.case("who guesses passwords is slowed down", function()
  test.equal(routes()["/api/v1/users/login"].limits, { "all", "logging_in" })
  test.equal(routes()["/api/v1/users/register"].limits, { "all", "registering" })
  local limits = gateway.gate.limits
  test.equal({ limits[2].requests, limits[2].per_s, limits[2].burst }, { 60, 60, 60 })
  test.equal({ limits[3].requests, limits[3].per_s, limits[3].burst }, { 300, 60, 300 })
end)

test.case("only /ws lets another protocol through, and so many of a client", function()
  for prefix, route in pairs(routes()) do
    test.equal(route.upgrade, prefix == "/ws", prefix)
  end
  test.equal(routes()["/ws"].upgrades_per_client_max, 100)
end)

test.case("a few clients' sockets are not all that the rest could have", function()
  for _, upstream in ipairs(gateway.gate.upstreams) do
    local sockets = upstream.name == "notifications"
    test.equal(upstream.connections_max, sockets and 4096 or 512, upstream.name)
  end
end)

test.case("an order has more time than the rest", function()
  test.equal(routes()["/api/v1/orders"].timeout_ms, 12000)
  test.equal(routes()["/api/v1/users"].timeout_ms, 6000)
end)

test.case("answers are made safe for browsers", function()
  test.equal(gateway.gate.headers, {
    ["x-content-type-options"] = "nosniff", ["x-frame-options"] = "DENY",
    ["referrer-policy"] = "no-referrer",
  })
  test.equal(gateway.gate.cors.origins,
    { "http://localhost:3000", "http://127.0.0.1:3000" })
  test.equal(gateway.gate.cors.credentials, false)
end)

test.case("the page tells of each address, and shows who is ill", function()
  test.replace(gate, "status", function()
    return { address(), address { address = "127.0.0.1:8101", up = false,
      trouble = "refused <at once>" } }
  end)
  local answer = test.call(gateway, "GET /")
  test.match(answer.headers["Content-Type"], "^text/html")
  test.match(answer.body, "1 of 2 addresses are well")
  test.match(answer.body, '<td>127%.0%.0%.1:8101<td class="ill">down')
  test.match(answer.body, "refused &lt;at once&gt;")
  test.match(answer.body, 'http%-equiv="refresh"')
  test.equal(answer.body:find("<script", 1, true), nil)
end)

test.case("an address whose breaker is open is not well", function()
  test.replace(gate, "status", function() return { address { breaker = "open" } } end)
  test.match(test.call(gateway, "GET /").body, "0 of 1 addresses are well")
end)

test.case("the same is there as JSON", function()
  test.replace(gate, "status", function() return { address() } end)
  test.equal(test.call(gateway, "GET /upstreams").body, { upstreams = { address() } })
end)

test.case("what operators see is for them only", function()
  for _, route in ipairs(gateway.routes) do
    test.equal(route.admin, route.path ~= "/openapi.json" or nil, route.path)
  end
  local document = json.decode(test.call(gateway, "GET /openapi.json").body)
  test.equal(document.paths["/upstreams"], nil)
end)

return test.suite()
