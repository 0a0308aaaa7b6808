-- An answer is an answer; a lost one leaves a doubt only where something may have been
-- written.
local conf = require "conf"
local fault = require "fault"
local http = require "http"
local json = require "json"
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
end)

return test.suite()
