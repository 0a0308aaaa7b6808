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
  metrics.summary("sample_wait_seconds", "Waits.", nil, { 0.5, 0.95 }):observe(0.5)
end)

test.case("a summary takes what is timed, and its value is the count", function()
  local waits = metrics.summary("sample_waits_seconds", "Waits.", { "queue" })
  waits:zero("slow")
  test.equal(test.value("sample_waits_seconds", { "slow" }), 0)
  test.equal(metrics.time(waits, function() return "done" end, "slow"), "done")
  waits:observe(3, "slow")
  test.equal(test.value("sample_waits_seconds", { "slow" }), 2)
end)

test.case("a summary refuses what is no quantile and what is negative", function()
  local ok, why = pcall(metrics.summary, "sample_wrong", "Wrong.", nil, { 50 })
  test.equal(ok, false)
  test.match(why, "quantiles must be from 0 to 1")
  local below = metrics.summary("sample_below_seconds", "Below.")
  ok, why = pcall(below.observe, below, -1)
  test.equal(ok, false)
  test.match(why, "sample_below_seconds: a summary observes nothing negative")
end)

return test.suite()
