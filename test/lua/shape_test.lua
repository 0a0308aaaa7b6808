-- Shapes name every wrong field, and let nothing through that the stores would choke on.
local json = require "json"
local shape = require "shape"
local test = require "test"

local line = shape.object { sku = shape.text(1, 8), quantity = shape.integer(1, 99) }
local order = shape.object {
  items = shape.list(line, 1, 3),
  note = shape.optional(shape.text(0, 10), "none"),
}

local function fields(value, expected)
  local _, errors = shape.check(expected or order, value)
  local names = {}
  for i, problem in ipairs(errors or {}) do
    names[i] = problem.field
  end
  return table.concat(names, " ")
end

local function decoded(text)
  return assert(json.decode(text))
end

test.case("a valid value comes back with its defaults", function()
  local value, errors = shape.check(order, decoded '{"items":[{"sku":"A","quantity":2}]}')
  test.equal(errors, nil)
  test.equal(value.note, "none")
  test.equal(value.items[1], { sku = "A", quantity = 2 })
end)

test.case("every wrong field is named by its path", function()
  local value = decoded '{"items":[{"sku":"A","quantity":1},{"sku":"","quantity":0}]}'
  test.equal(fields(value), "items[1].quantity items[1].sku")
end)

test.case("missing and unknown fields are named", function()
  local value = decoded '{"items":[{"sku":"A"}],"color":1}'
  test.equal(fields(value), "items[0].quantity color")
  test.equal(fields(nil), "body")
  test.equal(fields(decoded '[]'), "body")
end)

test.case("an object is no list and a list no object", function()
  test.equal(fields(decoded '{"items":{}}'), "items")
  test.equal(fields(decoded '{"items":[[]]}'), "items[0]")
  test.equal(fields(decoded '{"items":[]}'), "items")
end)

test.case("of an event, unknown fields are dropped", function()
  local event = shape.object({ id = shape.text(1, 5) }, "drop")
  test.equal(shape.check(event, decoded '{"id":"a","more":[1]}'), { id = "a" })
end)

test.case("whole numbers are whole and in range", function()
  local count = shape.integer(1, 10)
  for _, bad in ipairs { 0, 11, 1.5, -1, math.huge, 0 / 0, "3", true } do
    local value, errors = shape.check(count, bad)
    test.equal(value, nil, tostring(bad))
    test.equal(#errors, 1, tostring(bad))
  end
  test.equal(shape.check(count, 10), 10)
end)

test.case("numbers and booleans are read from a query", function()
  test.equal(shape.check(shape.integer(1, 10), "7", true), 7)
  test.equal(shape.check(shape.boolean, "false", true), false)
  test.equal(shape.check(shape.integer(1, 10), "7x", true), nil)
  test.equal(shape.check(shape.integer(1, 10), "0x7", true), nil)
end)

test.case("text is counted in characters", function()
  test.equal(shape.check(shape.text(1, 2), "éé"), "éé")
  test.equal(shape.check(shape.text(1, 2), "ééé"), nil)
end)

test.case("text that is not UTF-8, or holds NUL, is refused", function()
  for _, bad in ipairs {
    "a\0b", "\255", "\195", "\192\128", "\237\160\128", "\244\144\128\128",
    "\195\040\169",
  } do
    test.equal(shape.check(shape.text(1, 20), bad), nil, ("%q"):format(bad))
  end
  for _, good in ipairs { "plain", "\224\164\185", "\240\159\154\128", "\239\191\189" } do
    test.equal(shape.check(shape.text(1, 20), good), good)
  end
end)

test.case("ids are UUIDs and come in lower case", function()
  test.equal(shape.check(shape.uuid, "0000ABCD-0000-4000-8000-000000000001"),
    "0000abcd-0000-4000-8000-000000000001")
  test.equal(shape.check(shape.uuid, "0000ABCD-0000-4000-8000-00000000000"), nil)
  test.equal(shape.check(shape.uuid, "0000ABCD-0000-4000-8000-00000000000g"), nil)
  test.equal(shape.check(shape.uuid, 7), nil)
end)

test.case("e-mail addresses have a name, an at and a domain", function()
  test.equal(shape.check(shape.email, "a@b.cd"), "a@b.cd")
  for _, bad in ipairs { "ab.cd", "a@bcd", "@b.cd", "a b@c.de", "a@b@c.de" } do
    test.equal(shape.check(shape.email, bad), nil, bad)
  end
end)

test.case("a choice is one of its words", function()
  local color = shape.one_of { "red", "blue" }
  test.equal(shape.check(color, "red"), "red")
  local _, errors = shape.check(color, "green")
  test.match(errors[1].message, "red, blue")
end)

test.case("times are those of RFC 3339, with their zone", function()
  for _, good in ipairs {
    "2026-11-20T11:00:00Z", "2026-11-20T11:00:00.123456Z", "2026-12-31T23:59:60+05:30",
    "2024-02-29T00:00:00Z", "2000-02-29T00:00:00Z", "2026-04-30T00:00:00Z",
    "2026-01-31T00:00:00Z", "0000-02-29T00:00:00Z",
  } do
    test.equal(shape.check(shape.time, good), good)
  end
  for _, bad in ipairs {
    "2026-11-20", "2026-11-20T11:00:00", "2026-11-20 11:00:00Z", "2026-13-20T11:00:00Z",
    "2026-11-32T11:00:00Z", "2026-11-20T24:00:00Z", "2026-11-20T11:00:00.Z",
    "2026-11-20T11:00:00+24:00", "x2026-11-20T11:00:00Z", "2026-11-20T11:00:00ZZ", 7,
    "2026-02-30T00:00:00Z", "2026-04-31T00:00:00Z", "2026-02-29T00:00:00Z",
    "1900-02-29T00:00:00Z", "2024-02-30T00:00:00Z", "2026-11-00T00:00:00Z",
    "2026-00-20T11:00:00Z", "2026-11-31T11:00:00Z", "2026-11-20T23:59:61Z",
    "2026-11-20T23:60:00Z",
  } do
    test.equal(shape.check(shape.time, bad), nil, tostring(bad))
  end
end)

test.case("a map takes any names, and values of one shape", function()
  local prices = shape.map(shape.integer(0, 9))
  test.equal(shape.check(prices, decoded '{"a":1,"b":2}'), { a = 1, b = 2 })
  test.equal(shape.check(prices, decoded "{}"), {})
  test.equal(fields(decoded '{"a":1,"b":10}', prices), "b")
  test.equal(fields(decoded "[1]", prices), "body")
  test.equal(fields(decoded '{"a\\u0000":1}', prices), "body")
  test.equal(fields(decoded '{"m":{"a":"x"}}', shape.object { m = prices }), "m.a")
end)

test.case("an example changes nothing of what is taken", function()
  local count = shape.example(shape.optional(shape.integer(1, 9), 3), 7)
  test.equal(shape.check(count, 9), 9)
  test.equal(shape.check(count, nil), 3)
  test.equal(shape.check(count, 10), nil)
  test.equal(shape.check(shape.example(shape.uuid, "x"), nil), nil)
end)

test.case("requests share no default", function()
  local ok, why = pcall(shape.optional, shape.any, {})
  test.equal(ok, false)
  test.match(why, "must not be a table")
end)

test.case("a flood of errors is cut", function()
  local flood = {}
  for i = 1, 500 do
    flood["field" .. i] = i
  end
  local _, errors = shape.check(order, flood)
  test.equal(#errors, 50)
end)

return test.suite()
