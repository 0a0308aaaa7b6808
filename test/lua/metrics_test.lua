-- Series take values; what is timed is timed however it ends.
local fault = require "fault"
local metrics = require "metrics"
local test = require "test"

local function recorder()
  local seen = {}
  return {
    observe = function(_, value, ...)
      table.insert(seen, { value >= 0, ... })
    end,
  }, seen
end

test.case("a timed function gives its results", function()
  local histogram, seen = recorder()
  local value, why = metrics.time(histogram, function() return 1, "x" end, "get")
  test.equal({ value, why }, { 1, "x" })
  test.equal(seen, { { true, "get" } })
end)

test.case("a timed function that raises is observed, too", function()
  local histogram, seen = recorder()
  test.fails(function()
    metrics.time(histogram, function() fault.raise("timeout", "late") end, "get")
  end, "timeout")
  test.equal(#seen, 1)
end)

test.case("series are declared and recorded", function()
  local done = metrics.counter("sample_done_total", "Things done, by color.", { "color" })
  done:zero("red")
  done:inc("red")
  done:add(2.5, "blue")
  local level = metrics.gauge("sample_level", "A level.")
  level:set(3)
  metrics.histogram("sample_seconds", "Durations.", nil, { 0.1, 1 }):observe(0.5)
end)

return test.suite()
