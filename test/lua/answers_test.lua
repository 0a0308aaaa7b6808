-- A route that says what it answers is held to it.
local answers = require "answers"
local app = require "app"
local fault = require "fault"
local shape = require "shape"
local test = require "test"

local function statuses(options)
  local s = app.service "sample"
  s:get("/", options, function() end)
  return answers.faults(s.routes[#s.routes])
end

test.case("what a route asks for says which faults it answers with", function()
  local thing = shape.object {}
  test.equal(statuses {}, { 500, 503, 504 })
  test.equal(statuses { body = thing }, { 400, 413, 415, 422, 500, 503, 504 })
  test.equal(statuses { query = thing }, { 422, 500, 503, 504 })
  test.equal(statuses { path = thing }, { 422, 500, 503, 504 })
  test.equal(statuses { once_by = "x-key" }, { 422, 500, 503, 504 })
  test.equal(statuses { auth = "bearer" }, { 401, 500, 503, 504 })
  test.equal(statuses { auth = { "admin" } }, { 401, 403, 500, 503, 504 })
  test.equal(statuses { faults = { 409, 500, 404 } }, { 404, 409, 500, 503, 504 })
end)

local order = shape.object { id = shape.integer(1, 9), at = shape.optional(shape.time) }

-- The route's answer, or what is wrong with it.
local function answer(with, fn)
  local s = app.service "sample"
  s:get("/", with, fn)
  local ok, result = pcall(test.call, s, "GET /")
  return ok and result.status or result
end

test.case("a declared body passes, as it is on the wire", function()
  local with = { answers = { [200] = order } }
  test.equal(answer(with, function() return 200, { id = 1 } end), 200)
end)

test.case("a body with another member, or without one, names the field", function()
  local with = { answers = { [200] = order } }
  test.match(answer(with, function() return 200, { id = 1, more = 2 } end),
    "GET /: answered 200 with a body that is not the declared one: more is not known")
  test.match(answer(with, function() return 200, {} end), "id is required")
  test.match(answer(with, function() return 200, { id = 1, at = "noon" } end),
    "at has to be a time")
  test.match(answer(with, function() return 200 end), "body is required")
end)

test.case("where no body is declared there is none", function()
  local with = { answers = { [204] = false } }
  test.equal(answer(with, function() return 204 end), 204)
  test.match(answer(with, function() return 204, {} end), "204 with a body")
end)

test.case("a status that is no answer and no fault of the route is named", function()
  local with = { answers = { [200] = order }, faults = { 404 } }
  test.match(answer(with, function() return 201, { id = 1 } end),
    "answered 201, which is none of its answers and faults")
  test.match(answer(with, function() return fault.new("refused", "no") end), "409")
  test.equal(answer(with, function() return fault.new("missing", "no") end), 404)
  test.equal(answer(with, function() return fault.new("timeout", "late") end), 504)
end)

test.case("a route that declares nothing may answer anything", function()
  test.equal(answer({}, function() return 299, { any = true } end), 299)
end)

return test.suite()
