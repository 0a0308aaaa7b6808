-- A call without a socket gives what a caller of the service would see.
local app = require "app"
local call = require "test_call"
local fault = require "fault"
local test = require "test"

local s = app.service "sample"
s:get("/echo/:name", function(req)
  return 200, {
    name = req.path.name, query = req.query, tag = req.headers["x-tag"], peer = req.peer,
  }
end)
s:post("/echo", function(req)
  return 201, { raw = req.raw, list = req.body.list }, { Location = "/echo/1" }
end)
s:get("/returned", function() return fault.new("refused", "no") end)
s:get("/passed/on", function() return nil, fault.new("missing", "nobody") end)
s:get("/raised", function() fault.raise("limit", "full", { retry = true }) end)
s:get("/bug", function() error("a bug") end)

test.case("path, query, headers and peer reach the handler", function()
  local answer = call(s, "GET /echo/x", { ["x-tag"] = "t" }, { query = { a = "1" } })
  test.equal(answer.body, {
    name = "x", query = { a = "1" }, tag = "t", peer = "127.0.0.1",
  })
  test.equal(call(s, "GET /echo/x", {}, { peer = "::1" }).body.peer, "::1")
end)

test.case("the body goes through JSON, both ways", function()
  local answer = call(s, "POST /echo", {}, { body = { list = { 1, 2 } } })
  test.equal({ answer.status, answer.headers.Location }, { 201, "/echo/1" })
  test.equal(answer.body, { raw = '{"list":[1,2]}', list = { 1, 2 } })
end)

test.case("a fault is an answer, however it comes", function()
  for path, status in pairs { ["/returned"] = 409, ["/passed/on"] = 404 } do
    test.equal(call(s, "GET " .. path, {}, {}).status, status)
  end
  local body = call(s, "GET /raised", {}, {}).body
  test.equal({ body.kind, body.detail, body.retry }, { "limit", "full", true })
end)

test.case("a bug is no answer", function()
  local ok, why = pcall(call, s, "GET /bug", {}, {})
  test.equal(ok, false)
  test.match(why, "a bug")
end)

test.case("another method or path is no route", function()
  test.equal(call(s, "GET /echo", {}, {}), nil)
  test.equal(call(s, "POST /echo/x", {}, {}), nil)
end)

return test.suite()
