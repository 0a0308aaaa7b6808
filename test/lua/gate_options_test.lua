-- The values of upstreams, limits and routes are checked before the host sees them.
local conf = require "conf"
local options = require "gate_options"
local test = require "test"

local function upstream(given)
  given.address = given.address or "http://a:1"
  return options.upstream("orders", given)
end

local function refused(value, why, pattern)
  test.equal(value, nil)
  test.match(why, pattern)
end

test.case("false stands for none", function()
  local made = upstream { health = false, breaker = false, retry = false }
  test.equal({ made.health.path, made.breaker.failures, made.retry.attempts_max },
    { "", 0, 1 })
end)

test.case("a part that is told in part has the rest by default", function()
  local made = upstream { health = { path = "/health" }, breaker = { open_ms = 50 } }
  test.equal({ made.health.path, made.health.fall }, { "/health", 2 })
  test.equal({ made.breaker.failures, made.breaker.open_ms }, { 5, 50 })
end)

test.case("what was given is not changed", function()
  local given = { address = "http://a:1" }
  options.upstream("orders", given)
  test.equal(given, { address = "http://a:1" })
end)

test.case("an upstream has one address, several, or a list in a file", function()
  for _, address in ipairs {
    "http://127.0.0.1:8001", "http://a:1,http://b:2", "http://a:1 http://[::1]:2/",
    "file:///var/lib/upstreams/orders",
  } do
    test.equal(upstream({ address = address }).address, address)
  end
  for _, address in ipairs {
    "127.0.0.1:8001", "https://a:1", "http://a:1/path", "http://", "http://a:1,b:2",
    "file://relative", " , ",
  } do
    local made, why = upstream { address = address }
    refused(made, why, "address")
  end
end)

test.case("an address of the settings is checked too", function()
  test.replace(conf, "get", function() return { orders = "orders:80" } end)
  local value, why = options.upstream("orders", {})
  refused(value, why, "^'orders:80' is no address")
end)

test.case("numbers have bounds", function()
  for field, value in pairs {
    resolve_ms = 1, connect_timeout_ms = 0, connections_max = 0, idle_max = -1,
  } do
    local made, why = upstream { [field] = value }
    refused(made, why, "^'" .. field .. "' has to be a whole number")
  end
  local made, why = upstream { health = { fall = 0 } }
  refused(made, why, "^'health%.fall'")
  made, why = upstream { retry = { ratio = -1 } }
  refused(made, why, "^'retry%.ratio'")
end)

test.case("what is no table is refused", function()
  local made, why = options.upstream("orders", 5)
  refused(made, why, "'5' is not known here")
  made, why = options.route("/x", "y")
  refused(made, why, "'y' is not known here")
end)

test.case("a limit counts clients, everybody, or by a header", function()
  local made = options.limit { requests = 5, per_s = 1 }
  test.equal({ made.by, made.burst }, { "client", 5 })
  test.equal(options.limit({ requests = 0.1, per_s = 1 }).burst, 1)
  made = options.limit { requests = 5, per_s = 1, by = "header:X-Api-Key" }
  test.equal({ made.by, made.header }, { "header", "x-api-key" })
  local why
  made, why = options.limit { requests = 5, per_s = 1, by = "token" }
  refused(made, why, "^'by' has to be")
end)

test.case("a limit lets something through", function()
  for _, given in ipairs {
    { requests = 0, per_s = 1 }, { requests = 1, per_s = 0 },
    { requests = 5, per_s = 1, burst = 0.5 },
  } do
    local made, why = options.limit(given)
    refused(made, why, "above 0, 'burst' 1 or more")
  end
end)

test.case("a prefix is of whole segments, in normal form", function()
  for _, prefix in ipairs { "/", "/a", "/api/v1/orders", "/a.b/~c" } do
    test.equal(type(options.route(prefix, {})), "table", prefix)
  end
  for _, prefix in ipairs {
    "", "a", "/a/", "//", "/a//b", "/a/../b", "/..", "/./a", "/a b", "/a?b", "/a#b",
    "/a%2fb", "/a\\b", 7,
  } do
    local made, why = options.route(prefix, {})
    refused(made, why, "^a prefix begins")
  end
  local made, why = options.route("/a", { rewrite = "b" })
  refused(made, why, "^'rewrite'")
end)

return test.suite()
