-- A value is shown so that a person sees what it is, however large or tangled it is.
local show = require "show"
local test = require "test"

test.case("texts are quoted, numbers and the rest are as tostring has them", function()
  test.equal(show("a\"b\\\n\1"), [["a\"b\\\n\1"]])
  test.equal({ show(1.5), show(true), show(nil) }, { "1.5", "true", "nil" })
end)

test.case("members are sorted, the array first, keys as they would be written", function()
  test.equal(show({ 1, 2, z = 1, a = { b = "x" }, ["c d"] = false, [0] = 0 }),
    [[{1, 2, [0] = 0, a = {b = "x"}, ["c d"] = false, z = 1}]])
end)

test.case("what does not fit on a line is indented", function()
  local long = ("x"):rep(50)
  test.equal(show({ a = long, b = { long, long } }), ([[
{
  a = "%s",
  b = {
    "%s",
    "%s",
  },
}]]):format(long, long, long))
end)

test.case("a table inside itself is named, not followed", function()
  local t = { name = "t" }
  t.self = { t }
  test.equal(show(t), [[{name = "t", self = {<itself>}}]])
end)

test.case("the same table twice is shown twice", function()
  local shared = { 1 }
  test.equal(show({ shared, shared }), "{{1}, {1}}")
end)

test.case("depth and length have an end", function()
  test.equal(show({ { { { { 1 } } } }, {} }), "{{{{{...}}}}, {}}")
  local t = {}
  for i = 1, 130 do
    t[i] = 0
  end
  test.match(show(t), "0,\n  %.%.%. 30 more,\n}$")
end)

test.case("what is read-only is shown like any table", function()
  test.match(show(require "clock"), "iso = function")
end)

return test.suite()
