-- What a route answers, in the words of OpenAPI.
local json_schema = require "json_schema"
local openapi_answers = require "openapi_answers"
local shape = require "shape"
local test = require "test"

test.case("a thing is called by its path", function()
  for path, name in pairs {
    ["/api/v1/orders"] = "Order", ["/api/v1/orders/:id"] = "Order",
    ["/api/v1/users/me"] = "User", ["/api/v1/inventory/:sku/movements"] = "Movement",
    ["/api/v1/inventory"] = "Inventory", ["/authorize"] = "Authorize", ["/"] = "Root",
  } do
    test.equal(openapi_answers.resource(path), name, path)
  end
end)

local function of(route, tagged)
  route.path = "/things"
  return openapi_answers.of(route, json_schema.new(), tagged or false)
end

test.case("an answer has its body, its type, and headers that fit", function()
  local created = of({ answers = { [201] = shape.number } }, true)["201"]
  test.equal(created.content, { ["application/json"] = { schema = { type = "number" } } })
  test.equal({ created.headers.Location ~= nil, created.headers.ETag ~= nil },
    { true, true })
  test.equal(of { answers = { [204] = false } }["204"], { description = "No Content" })
end)

test.case("what shows its version has it as ETag too", function()
  local thing = shape.object { version = shape.integer(1, 9) }
  local created = of { answers = { [201] = thing } }["201"]
  test.equal(created.headers.ETag ~= nil, true)
end)

test.case("a status may be an answer and a fault", function()
  local both = of { answers = { [503] = shape.number } }["503"].content
  test.equal({ both["application/json"] ~= nil, both["application/problem+json"] ~= nil },
    { true, true })
end)

test.case("a route that does not say is not guessed at", function()
  test.equal(of {}["2XX"].content, nil)
end)

test.case("faults tell when to come again, and 304 has no body", function()
  local function headers(status)
    return openapi_answers.fault(status).headers or {}
  end
  test.equal(headers(503)["Retry-After"] ~= nil, true)
  test.equal(headers(401)["WWW-Authenticate"] ~= nil, true)
  test.equal(headers(404), {})
  test.equal(openapi_answers.fault(304).content, nil)
end)

return test.suite()
