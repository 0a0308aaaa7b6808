-- Two clocks: one says when, the other how long.
local clock = require "clock"
local test = require "test"

test.case("time is written the way people and databases read it", function()
  test.equal(clock.iso(0), "1970-01-01T00:00:00.000Z")
  test.equal(clock.iso(1795172400.5), "2026-11-20T11:00:00.500Z")
  test.match(clock.iso(), "^20%d%d%-%d%d%-%d%dT%d%d:%d%d:%d%d%.%d%d%dZ$")
end)

test.case("monotonic time does not go back", function()
  local before = clock.mono()
  test.equal(clock.mono() >= before, true)
end)

return test.suite()
