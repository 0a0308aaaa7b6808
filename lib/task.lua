-- Waiting without blocking: a task is the coroutine that serves one request or message.
local native = require "native.task"

local task = {}

--- Waits; other tasks run meanwhile.
---@type fun(seconds: number)
task.sleep = native.sleep

--- Seconds until the host gives this task up.
---@type fun(): number
task.deadline = native.deadline

--- Runs the functions side by side. Gives the first result of each, in order; when one
--- raises, raises that once all have ended.
---@type fun(fns: function[]): ...
task.all = native.all

return task
