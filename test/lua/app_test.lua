-- Routes check who asks and what they send before a handler sees it.
local app = require "app"
local fault = require "fault"
local json = require "json"
local shape = require "shape"
local test = require "test"

local s = app.service("sample", { auth = "bearer" })
local thing = shape.object { name = shape.text(1, 5) }
local page = shape.object { limit = shape.optional(shape.integer(1, 9), 3) }

s:get("/open/:id", { auth = false }, function(req) return 200, { id = req.path.id } end)
s:get("/mine", function(req) return 200, { sub = req.user.sub } end)
s:get("/admin", { auth = { "admin" } }, function() return 204 end)
s:get("/page", { auth = false, query = page }, function(req) return 200, req.query end)
local once = { auth = false, body = thing, once_by = "idempotency-key" }
s:post("/things", once, function(req)
  return 201, { name = req.body.name, key = req.once_key }, { Location = "/things/1" }
end)
s:get("/returns", { auth = false }, function() return fault.new("missing", "gone") end)
s:get("/passes-on", { auth = false }, function()
  return nil, fault.new("refused", "no", { status = 402, reason = "why not" })
end)
s:get("/raises", { auth = false }, function() fault.raise("unavailable", "down") end)

local customer = { sub = "u1", role = "customer" }
local admin = { sub = "u2", role = "admin" }

test.case("a route without auth answers anyone", function()
  test.equal(test.call(s, "GET /open/7").body, { id = "7" })
end)

test.case("a route with auth wants a token", function()
  local answer = test.call(s, "GET /mine")
  test.equal(answer.status, 401)
  test.equal(answer.body.kind, "denied")
  test.equal(answer.headers["WWW-Authenticate"], "Bearer")
  test.equal(test.call(s, "GET /mine", { user = customer }).body, { sub = "u1" })
end)

test.case("a role that is not listed is refused with 403", function()
  test.equal(test.call(s, "GET /admin", { user = customer }).status, 403)
  test.equal(test.call(s, "GET /admin", { user = admin }).status, 204)
end)

test.case("all problems of a request are told at once", function()
  local answer = test.call(s, "POST /things", { body = { name = "too long", more = 1 } })
  test.equal(answer.status, 422)
  test.equal(answer.headers["Content-Type"], "application/problem+json")
  local named = {}
  for i, problem in ipairs(answer.body.errors) do
    named[i] = problem.field
  end
  test.equal(table.concat(named, " "), "Idempotency-Key name more")
end)

test.case("a missing body is named", function()
  local answer = test.call(s, "POST /things", { headers = { ["Idempotency-Key"] = "k" } })
  test.equal(answer.body.errors, { { field = "body", message = "is required" } })
end)

test.case("valid input reaches the handler, headers the caller", function()
  local answer = test.call(s, "POST /things", {
    headers = { ["Idempotency-Key"] = "k-1" }, body = { name = "ok" },
  })
  test.equal(answer.body, { name = "ok", key = "k-1" })
  test.equal(answer.headers.Location, "/things/1")
end)

test.case("a query is read as numbers where numbers are wanted", function()
  test.equal(test.call(s, "GET /page", { query = { limit = "9" } }).body, { limit = 9 })
  test.equal(test.call(s, "GET /page").body, { limit = 3 })
  test.equal(test.call(s, "GET /page", { query = { limit = "10" } }).status, 422)
end)

test.case("a fault answers the same, returned, passed on or raised", function()
  test.equal(test.call(s, "GET /returns").status, 404)
  local answer = test.call(s, "GET /passes-on")
  test.equal(answer.status, 402)
  test.equal(answer.body.kind, "refused")
  test.equal(answer.body.reason, "why not")
  test.equal(test.call(s, "GET /raises").status, 503)
end)

test.case("jobs, consumers and sockets are listed for the host", function()
  local other = app.service "other"
  other:every("tick", 1, function() end)
  other:consume("q", { bind = { "a.b" } }, function() end)
  other:ws("/ws", { accept = function() return { channels = json.array {} } end })
  test.equal(other.jobs[1].every_s, 1)
  test.equal(other.consumers[1].prefetch, 16)
  test.equal(other.sockets[1].path, "/ws")
end)

return test.suite()
