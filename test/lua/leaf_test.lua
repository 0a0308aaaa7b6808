-- A shape without parts says in the words of JSON Schema what it takes.
local json_schema = require "json_schema"
local leaf = require "leaf"
local shape = require "shape"
local test = require "test"

test.case("services have every leaf", function()
  for name, made in pairs(leaf) do
    if name ~= "reject" then
      test.equal(type(shape[name]), type(made), name)
    end
  end
end)

test.case("every leaf has its schema", function()
  for _, made in ipairs {
    leaf.text(0, 1), leaf.integer(1, 2), leaf.number, leaf.boolean, leaf.uuid, leaf.email,
    leaf.time, leaf.one_of { "a" },
  } do
    test.match(made.schema.type, "^%l+$")
    test.match(made.expected, "%l")
    test.equal(json_schema.new():write(made, "X").type, made.schema.type)
  end
end)

test.case("a problem without a field names the body, and a flood is cut", function()
  local found = { errors = {} }
  for _ = 1, 60 do
    leaf.reject(found, "", "is wrong")
  end
  test.equal(#found.errors, 50)
  test.equal(found.errors[1], { field = "body", message = "is wrong" })
end)

test.case("a long number in the caller's own name of a field is not repeated", function()
  local found = { errors = {} }
  for _, name in ipairs {
    "card.4242424242424242", "DE89370400440532013000", "items[12]",
  } do
    leaf.reject(found, name, "is not known here")
  end
  test.equal(found.errors, {
    { field = "card.*", message = "is not known here" },
    { field = "DE*", message = "is not known here" },
    { field = "items[12]", message = "is not known here" },
  })
end)

return test.suite()
