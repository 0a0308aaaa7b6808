-- A JSON Schema of a shape says what the shape accepts, no more and no less.
local json_schema = require "json_schema"
local shape = require "shape"
local test = require "test"

local clean = "^[^\\x00]*$"

local function written(of, name)
  local schemas = json_schema.new()
  schemas:count(of)
  return schemas:write(of, name or "Thing"), schemas.components
end

test.case("text has its length in characters and holds no NUL", function()
  test.equal(written(shape.text(1, 9)), {
    type = "string", minLength = 1, maxLength = 9, pattern = clean,
  })
end)

test.case("a Lua pattern comes as a regular expression", function()
  test.equal(written(shape.text(3, 4, "^%d+$", "digits")).pattern, "^[0-9]+$")
  test.equal(written(shape.text(2, 2, "^%bxy$", "x, y", "^xy$")).pattern, "^xy$")
end)

test.case("a pattern that has none is named", function()
  local ok, why = pcall(written, shape.text(1, 2, "^%bxy$", "x, y"))
  test.equal(ok, false)
  test.match(why, "%%bxy.*needs its regular expression")
end)

test.case("numbers, booleans and choices are what they are", function()
  test.equal(written(shape.integer(1, 9)), { type = "integer", minimum = 1, maximum = 9 })
  test.equal(written(shape.number), { type = "number" })
  test.equal(written(shape.boolean), { type = "boolean" })
  test.equal(written(shape.one_of { "a", "b" }), { type = "string", enum = { "a", "b" } })
  test.equal(written(shape.uuid).format, "uuid")
  test.equal(written(shape.time).format, "date-time")
  test.equal(written(shape.any), {})
end)

test.case("an object says what it needs, and that there is nothing else", function()
  local thing = shape.object {
    id = shape.integer(1, 2),
    note = shape.optional(shape.example(shape.boolean, true), false),
  }
  test.equal(written(thing), {
    type = "object", additionalProperties = false, required = { "id" },
    properties = {
      id = { type = "integer", minimum = 1, maximum = 2 },
      note = { type = "boolean", default = false, examples = { true } },
    },
  })
  test.equal(written(shape.object({}, "drop")).additionalProperties, true)
  test.equal(written(shape.object {}).required, nil)
end)

test.case("lists and maps have the schema of what is in them", function()
  local number = { type = "number" }
  test.equal(written(shape.list(shape.number, 0, 3)), {
    type = "array", items = number, minItems = 0, maxItems = 3,
  })
  test.equal(written(shape.map(shape.number)), {
    type = "object", additionalProperties = number, propertyNames = { pattern = clean },
  })
end)

test.case("an object that is used twice is a component, and stands there once", function()
  local line = shape.object { sku = shape.number }
  local order = shape.object { lines = shape.list(line, 1, 2), first = line }
  local schema, components = written(order, "Order")
  test.equal(schema.properties.first, { ["$ref"] = "#/components/schemas/OrderFirst" })
  test.equal(schema.properties.lines.items, schema.properties.first)
  test.equal(components.OrderFirst.required, { "sku" })
end)

test.case("two components never share a name", function()
  local schemas = json_schema.new()
  for _ = 1, 2 do
    local of = shape.object {}
    schemas:count(of)
    schemas:count(of)
    schemas:write(of, "Thing")
  end
  test.equal({ schemas.components.Thing ~= nil, schemas.components.Thing2 ~= nil },
    { true, true })
end)

test.case("what is on a page is named like the thing itself", function()
  local item = shape.object { id = shape.number }
  local page = shape.object {
    items = shape.list(item, 0, 9), next_cursor = shape.optional(shape.text(1, 9)),
  }
  local schemas = json_schema.new()
  schemas:count(page)
  schemas:count(item)
  schemas:write(page, "Order")
  test.equal(schemas.components.Order.required, { "id" })
end)

return test.suite()
