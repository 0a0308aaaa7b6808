-- A Lua pattern becomes the regular expression that finds the same.
local ecma = require "ecma"
local test = require "test"

test.case("classes, sets and repetitions are translated", function()
  for pattern, expected in pairs {
    ["^%d+$"] = "^[0-9]+$",
    ["^%u%u$"] = "^[A-Z][A-Z]$",
    ["^[%w_%-]*$"] = "^[0-9A-Za-z_\\-]*$",
    ["^[a-f-]?$"] = "^[a-f\\-]?$",
    ["a.b-c"] = "a[^\\x00]b*?c",
    ["^(%a+)%.x$"] = "^([A-Za-z]+)\\.x$",
  } do
    test.equal(ecma.of(pattern), expected, pattern)
  end
end)

test.case("a complement never takes NUL, which no text holds", function()
  test.equal(ecma.of "^[^/]+$", "^[^\\x00/]+$")
  test.equal(ecma.of "^%S+$", "^[^\\x00\\t-\\r ]+$")
  test.equal(ecma.of "^[^%c]+$", "^[^\\x00-\\x1f\\x7f]+$")
end)

test.case("what means something only to the other side is escaped", function()
  test.equal(ecma.of "^{a|b}+$", "^\\{a\\|b\\}+$")
  test.equal(ecma.of "a^b$c", "a\\^b\\$c")
  test.equal(ecma.of "^[]%]%^]$", "^[\\]\\]\\^]$")
end)

test.case("what cannot be said is not translated", function()
  for _, pattern in ipairs {
    "%bxy", "%f[%a]", "(%a)%1", "()", "^[%W]$", "[a", "%", "[%z]", "é",
  } do
    test.equal(ecma.of(pattern), nil, pattern)
  end
end)

return test.suite()
