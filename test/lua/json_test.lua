-- JSON says exactly what was meant: arrays stay arrays, whole numbers whole.
local json = require "json"
local test = require "test"

local function round(text)
  return json.encode(assert(json.decode(text)))
end

test.case("what is read is written the same", function()
  for _, text in ipairs {
    '{}', '[]', '{"a":[]}', '[[],{}]', '"a\\"b"', 'true', '0', '-1.5', '9007199254740991',
    '[1,2,3]', '"é"',
  } do
    test.equal(round(text), text)
  end
end)

test.case("a member that is null is absent", function()
  test.equal(json.decode '{"a":null,"b":1}', { b = 1 })
end)

test.case("arrays are told from objects", function()
  test.equal(json.is_array(json.decode '[]'), true)
  test.equal(json.is_array(json.decode '{}'), false)
  test.equal(json.is_array(json.array {}), true)
  test.equal(json.is_array("text"), false)
  test.equal(json.encode(json.array {}), "[]")
end)

test.case("bad text is refused with words", function()
  for _, text in ipairs { "", "{", "[1,]", '{"a":1,}', "nul", "01", "NaN", "1 2" } do
    local value, message = json.decode(text)
    test.equal(value, nil, text)
    test.equal(type(message), "string", text)
  end
end)

test.case("what JSON cannot say is an error", function()
  local loop = {}
  loop.loop = loop
  for _, value in ipairs { function() end, { f = test.case }, 0 / 0, loop } do
    test.equal(pcall(json.encode, value), false)
  end
end)

return test.suite()
