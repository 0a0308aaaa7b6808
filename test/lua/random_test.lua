-- Random values stay where they were promised to stay.
local random = require "random"
local test = require "test"

test.case("ids are version 4 UUIDs and differ", function()
  local first, second = random.uuid(), random.uuid()
  test.match(first, "^%x+%-%x+%-4%x%x%x%-[89ab]%x%x%x%-%x+$")
  test.equal(#first, 36)
  test.equal(first ~= second, true)
end)

test.case("integers and numbers keep their range", function()
  for _ = 1, 200 do
    local whole, part = random.integer(3, 5), random.number()
    test.equal(whole >= 3 and whole <= 5 and whole % 1 == 0, true)
    test.equal(part >= 0 and part < 1, true)
  end
  test.equal(random.integer(7, 7), 7)
end)

test.case("durations stay around their median", function()
  local below = 0
  for _ = 1, 1000 do
    local value = random.duration(0.04)
    test.equal(value >= 0.04 / 3 and value <= 0.24, true, tostring(value))
    below = below + (value < 0.04 and 1 or 0)
  end
  test.equal(below > 350 and below < 650, true, below .. " of 1000 below the median")
end)

return test.suite()
