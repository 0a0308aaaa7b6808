-- The test library fails what is wrong, and leaves nothing behind.
local app = require "app"
local fault = require "fault"
local test = require "test"

local place = { name = "old" }

test.case("what is replaced is replaced", function()
  test.replace(place, "name", "new")
  test.replace(place, "name", "newest")
  test.equal(place.name, "newest")
end)

test.case("and is put back after the case", function()
  test.equal(place.name, "old")
end)

test.case("equal compares tables by what they hold", function()
  test.equal({ 1, { a = true } }, { 1, { a = true } })
  test.equal(pcall(test.equal, { 1 }, { 1, 2 }), false)
  test.equal(pcall(test.equal, { a = 1 }, { a = 2 }), false)
  test.equal(pcall(test.equal, 1, "1"), false)
end)

test.case("fails wants a fault of that kind", function()
  local why = test.fails(function() fault.raise("limit", "full") end, "limit")
  test.equal(why.detail, "full")
  test.equal(pcall(test.fails, function() return 1 end, "limit"), false)
  test.equal(pcall(test.fails, function() fault.raise("limit", "x") end, "denied"), false)
  test.equal(pcall(test.fails, function() error("a bug") end, "limit"), false)
end)

test.case("call finds the route by method and path", function()
  local s = app.service "sample"
  s:get("/a/:b/c", function(req) return 200, { b = req.path.b } end)
  s:post("/a", function() return 204 end)
  test.equal(test.call(s, "GET /a/x/c").body, { b = "x" })
  test.equal(test.call(s, "POST /a").status, 204)
  test.equal(pcall(test.call, s, "GET /a"), false)
end)

test.case("a handler with a bug fails the test, not the request", function()
  local s = app.service "sample"
  s:get("/bug", function() error("a bug") end)
  test.equal(pcall(test.call, s, "GET /bug"), false)
end)

return test.suite()
