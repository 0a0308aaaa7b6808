-- Waiting parts run side by side, and a failed part fails the whole.
local clock = require "clock"
local fault = require "fault"
local task = require "task"
local test = require "test"

test.case("parts give their first results in order", function()
  local a, b, c = task.all {
    function()
      task.sleep(0.02)
      return 1, "not this"
    end,
    function() return 2 end,
    function() end,
  }
  test.equal({ a, b, c }, { 1, 2 })
end)

test.case("parts wait at the same time", function()
  local started, parts = clock.mono(), {}
  for i = 1, 20 do
    parts[i] = function() task.sleep(0.05) end
  end
  task.all(parts)
  local took = clock.mono() - started
  test.equal(took >= 0.045 and took < 0.5, true, "20 naps of 0.05 s took " .. took)
end)

test.case("the first fault is raised, once all have ended", function()
  local ended = false
  test.fails(function()
    task.all {
      function() fault.raise("timeout", "late") end,
      function()
        task.sleep(0.02)
        ended = true
      end,
    }
  end, "timeout")
  test.equal(ended, true)
end)

test.case("a task knows how long it may go on", function()
  local left = task.deadline()
  test.equal(left > 0 and left < 3600, true, tostring(left))
end)

return test.suite()
