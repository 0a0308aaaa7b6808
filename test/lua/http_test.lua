-- An answer is an answer; a lost one leaves a doubt only where something may have been
-- written.
local clock = require "clock"
local conf = require "conf"
local fault = require "fault"
local http = require "http"
local json = require "json"
local random = require "random"
local test = require "test"

local function upstream(answer, why)
  local seen = {}
  test.replace(conf, "get", function() return { users = "http://127.0.0.1:1" } end)
  test.replace(http, "request", function(request)
    for name, value in pairs(request) do
      seen[name] = value
    end
    return answer, why
  end)
  return seen
end

local function problem(status, document)
  return {
    status = status, headers = { ["content-type"] = "application/problem+json" },
    body = json.encode(document),
  }
end

test.case("JSON goes out and comes back", function()
  local seen = upstream {
    status = 201, headers = { ["content-type"] = "application/json" }, body = '{"id":1}',
  }
  local answer = http.call("users", "POST", "/x", {
    body = { a = 1 }, headers = { K = "v" },
  })
  test.equal(answer.ok, true)
  test.equal(answer.body, { id = 1 })
  test.equal(seen.url, "http://127.0.0.1:1/x")
  test.equal(seen.body, '{"a":1}')
  test.equal(seen.headers["Content-Type"], "application/json")
  test.equal(seen.headers.K, "v")
end)

test.case("a problem document is a fault, further members included", function()
  upstream(problem(402, {
    kind = "refused", detail = "no", decline_code = "x", trace_id = "t",
  }))
  local answer = http.call("users", "GET", "/x")
  test.equal(answer.ok, false)
  local why = http.why(answer)
  test.equal({ why.kind, why.status, why.detail, why.decline_code, why.trace_id },
    { "refused", 402, "no", "x" })
end)

test.case("a status without words has a kind", function()
  for status, kind in pairs { [401] = "denied", [404] = "missing", [409] = "refused",
    [418] = "bad_input", [429] = "limit", [502] = "broken", [503] = "unavailable" } do
    upstream { status = status, headers = {}, body = "?" }
    test.equal(http.why(http.call("users", "GET", "/x")).kind, kind)
  end
end)

test.case("the other side's bug is not ours", function()
  upstream(problem(500, { kind = "internal", detail = "oops" }))
  local why = http.why(http.call("users", "GET", "/x"))
  test.equal({ why.kind, fault.status(why) }, { "broken", 502 })
end)

test.case("nonsense after a write is a doubt, after a read it is not", function()
  upstream(nil, fault.new("broken", "?"))
  test.fails(function() return http.call("users", "POST", "/x") end, "uncertain")
  test.fails(function() return http.call("users", "GET", "/x") end, "broken")
  upstream(nil, fault.new("unavailable", "?"))
  test.fails(function() return http.call("users", "POST", "/x") end, "unavailable")
end)

test.case("an upstream that is not configured is our fault", function()
  upstream(nil)
  test.fails(function() return http.call("nobody", "GET", "/x") end, "internal")
  for _, nothing in ipairs { "", ",", " , " } do
    test.replace(conf, "get", function() return { users = nothing } end)
    test.fails(function() return http.call("users", "GET", "/x") end, "internal")
  end
end)

-- Replicas of users at http://a, http://b and so on; what says how each answers: a status
-- or a kind of failure. Gives a function that tells who was asked since the last time.
local runs = 0

local function replicas(what)
  local names, asked = {}, {}
  runs = runs + 1 -- addresses of its own: what happened to others is remembered
  for name in pairs(what) do
    names[#names + 1] = ("http://%s%d"):format(name, runs)
  end
  table.sort(names)
  local turn = -1 -- chance, made to go round
  test.replace(random, "integer", function(low, high)
    turn = (turn + 1) % (high - low + 1)
    return low + turn
  end)
  test.replace(conf, "get", function() return { users = table.concat(names, ", ") } end)
  test.replace(http, "request", function(request)
    local name = request.url:match("^http://(%a)%d+/x$")
    asked[#asked + 1] = name
    local outcome = what[name]
    if type(outcome) == "function" then
      outcome = outcome(request)
    end
    if type(outcome) == "string" then
      return nil, fault.new(outcome, "from " .. name)
    end
    return { status = outcome, headers = {}, body = name }
  end)
  return function()
    local told = table.concat(asked)
    asked = {}
    return told
  end
end

test.case("each replica is asked", function()
  local asked = replicas { a = 200, b = 500, c = 404 }
  for _ = 1, 6 do
    http.call("users", "POST", "/x")
  end
  test.equal(asked(), "abcabc")
end)

test.case("what one replica did not get goes to the next, whatever it is", function()
  local asked = replicas { a = "unavailable", b = "unavailable", c = 201 }
  test.equal(http.call("users", "POST", "/x").body, "c")
  test.equal(asked(), "abc")
end)

test.case("a replica that is down is asked last for a while", function()
  local now, down = 100, true
  test.replace(clock, "mono", function() return now end)
  local function state() return down and "unavailable" or 200 end
  local asked = replicas { a = state, b = 200 }
  for _ = 1, 4 do
    test.equal(http.call("users", "POST", "/x").body, "b")
  end
  test.equal(asked(), "abbbb")
  now, down = now + 2, false
  for _ = 1, 4 do
    http.call("users", "POST", "/x")
  end
  test.equal(asked(), "abab")
end)

test.case("a replica that is down is asked when no other one answers", function()
  local down = "unavailable"
  local asked = replicas { a = function() return down end, b = "unavailable" }
  test.fails(function() return http.call("users", "POST", "/x") end, "unavailable")
  down = 200
  test.equal(http.call("users", "POST", "/x").body, "a")
  test.equal(asked(), "abba")
end)

test.case("what one replica may have got goes on only when that does no harm", function()
  for _, lost in ipairs { "uncertain", "broken" } do
    local asked = replicas { a = lost, b = 200 }
    test.fails(function() return http.call("users", "POST", "/x") end, "uncertain")
    test.equal(asked(), "a")

    asked = replicas { a = lost, b = 200 }
    test.equal(http.call("users", "POST", "/x", { repeatable = true }).body, "b")
    test.equal(asked(), "ab")

    asked = replicas { a = lost, b = 200 }
    test.equal(http.call("users", "GET", "/x").body, "b")
    test.equal(asked(), "ab")
  end
end)

test.case("a doubt stays when the next replica cannot be reached", function()
  for _, lost in ipairs { "uncertain", "broken" } do
    local asked = replicas { a = lost, b = "unavailable" }
    local _, why = http.call("users", "POST", "/x", { repeatable = true })
    test.equal({ why.kind, why.detail }, { "uncertain", "from a" })
    test.equal(asked(), "ab")
  end
  replicas { a = "broken", b = "unavailable" }
  test.fails(function() return http.call("users", "GET", "/x") end, "unavailable")
end)

test.case("an answer is an answer: no other replica is asked", function()
  for _, status in ipairs { 200, 404, 500, 503 } do
    local asked = replicas { a = status, b = 200 }
    test.equal(http.call("users", "GET", "/x").status, status)
    test.equal(asked(), "a")
  end
  local asked = replicas { a = "timeout", b = 200 }
  test.fails(function() return http.call("users", "GET", "/x") end, "timeout")
  test.equal(asked(), "a")
end)

test.case("all replicas together have the time of one call", function()
  local now, given = 100, {}
  test.replace(clock, "mono", function() return now end)
  local function slow(request)
    given[#given + 1] = request.timeout_s
    now = now + 0.75
    return "unavailable"
  end
  local asked = replicas { a = slow, b = slow, c = slow }
  test.fails(function()
    return http.call("users", "POST", "/x", { timeout_s = 1.5 })
  end, "unavailable")
  test.equal(asked(), "ab", "no time is left for the third")
  test.equal(given, { 1.5, 0.75 })
end)

return test.suite()
