-- Headers that a gateway adds are headers; what CORS answers with is complete.
local headers = require "gate_headers"
local test = require "test"

local function refused(pattern, value, why)
  test.equal(value, nil)
  test.match(why, pattern)
end

test.case("names of headers are told in lower case", function()
  test.equal(headers.read { ["X-Why"] = "Because" }, { ["x-why"] = "Because" })
  test.equal(headers.read {}, {})
end)

test.case("what would break a message is refused", function()
  refused("is no name", headers.read { ["a:b"] = "c" })
  refused("is no name", headers.read { ["a\n"] = "c" })
  refused("one line", headers.read { a = "b\r\nc: d" })
  refused("one line", headers.read { a = 7 })
  refused("table", headers.read "a: b")
end)

test.case("what belongs to a connection is not set", function()
  for _, name in ipairs {
    "Connection", "content-length", "Transfer-Encoding", "Host", "Upgrade", "TE",
  } do
    refused("belongs to the connection", headers.read { [name] = "x" })
  end
end)

test.case("what the gateway says of a request itself is not set on it", function()
  for _, name in ipairs {
    "X-Request-Id", "X-Forwarded-For", "traceparent", "tracestate", "Forwarded",
    "X-Envoy-Expected-Rq-Timeout-Ms",
  } do
    refused("said by the gateway", headers.read({ [name] = "x" }, true))
  end
  test.equal(headers.read({ ["X-User"] = "7" }, true), { ["x-user"] = "7" })
end)

test.case("there are not more headers than the host takes", function()
  local many = {}
  for i = 1, 33 do
    many["x-" .. i] = "y"
  end
  refused("more than 32", headers.read(many))
end)

test.case("origins suffice for CORS", function()
  local made = headers.cors { origins = { "http://localhost:3000" } }
  test.equal(made.origins, { "http://localhost:3000" })
  test.match(made.methods, "^GET, HEAD, POST, PUT")
  test.match(made.headers, "authorization, content%-type, idempotency%-key")
  test.match(made.expose, "etag, location, ratelimit")
  test.equal({ made.credentials, made.max_age_s }, { false, 600 })
  test.equal(headers.cors({ origins = { "*" }, methods = { "GET" } }).methods, "GET")
end)

test.case("an origin has no path, and everybody is nobody in particular", function()
  refused("is no origin", headers.cors { origins = { "http://a/" } })
  refused("is no origin", headers.cors { origins = { "localhost" } })
  refused("is no origin", headers.cors { origins = { "null" } })
  refused("stands alone", headers.cors { origins = { "*", "http://a" } })
  refused("stands alone", headers.cors { origins = { "*" }, credentials = true })
  refused("'origins'", headers.cors { origins = {} })
  refused("'origins'", headers.cors {})
end)

return test.suite()
