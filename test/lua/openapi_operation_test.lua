-- What a route asks for, in the words of OpenAPI.
local json_schema = require "json_schema"
local openapi_operation = require "openapi_operation"
local shape = require "shape"
local test = require "test"

local function of(route)
  route.method, route.path = route.method or "PUT", route.path or "/things/:id"
  return openapi_operation.of(route, json_schema.new(), "things")
end

test.case("an operation is called by its method and path", function()
  test.equal(openapi_operation.id("GET", "/api/v1/orders/:id"), "getOrdersById")
  test.equal(openapi_operation.id("POST", "/api/v1/payments/order/:order_id/void"),
    "postPaymentsOrderByOrderIdVoid")
  test.equal(openapi_operation.id("GET", "/"), "get")
end)

test.case("If-Match is taken where the body may name the version", function()
  local function headers(body)
    local names = {}
    for _, parameter in ipairs(of({ shapes = { body = body } }).parameters) do
      names[#names + 1] = parameter.name
    end
    return table.concat(names, " ")
  end
  local version = shape.integer(1, 9)
  test.equal(headers(shape.object { version = shape.optional(version) }), "id If-Match")
  test.equal(headers(shape.object { version = version }), "id")
  test.equal(headers(shape.object {}), "id")
end)

test.case("a parameter is as its shape", function()
  local id = of({ shapes = { path = shape.object { id = shape.uuid } } }).parameters[1]
  test.equal({ id.name, id["in"], id.schema.format }, { "id", "path", "uuid" })
end)

test.case("a body that may be absent is not required", function()
  local body = shape.object {}
  test.equal(of({ shapes = { body = body } }).requestBody.required, true)
  test.equal(of({ shapes = { body = shape.optional(body) } }).requestBody.required, false)
  test.equal(of({}).requestBody, nil)
end)

test.case("roles are told, and nobody is asked where nobody is", function()
  local staff = of { auth = { "operator", "admin" } }
  test.equal({ #staff.security, staff["x-roles"] }, { 1, { "operator", "admin" } })
  local any = of { auth = "bearer" }
  test.equal({ #any.security, any["x-roles"] }, { 1, nil })
  test.equal(#of({ auth = false }).security, 0)
end)

return test.suite()
