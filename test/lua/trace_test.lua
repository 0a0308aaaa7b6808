-- Spans wrap work without changing what it gives.
local fault = require "fault"
local task = require "task"
local test = require "test"
local trace = require "trace"

local kept = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

test.case("a span gives the results of its function", function()
  test.equal({ trace.span("sample", function() return 1, 2 end) }, { 1, 2 })
  test.equal({ trace.span("sample", { lines = 3 }, function() return nil, "x" end) },
    { nil, "x" })
end)

test.case("a function may wait inside a span", function()
  test.equal(trace.span("sample", function()
    task.sleep(0.01)
    return "done"
  end), "done")
end)

test.case("what is raised inside goes on", function()
  test.fails(function()
    trace.span("sample", function() fault.raise("limit", "full") end)
  end, "limit")
end)

test.case("a kept context is the parent of what is done with it", function()
  trace.continue(kept, nil, function()
    test.match(trace.context(), "^00%-0af7651916cd43dd8448eb211c80319c%-")
  end)
  test.equal(trace.continue(nil, nil, function() return 5 end), 5)
end)

return test.suite()
