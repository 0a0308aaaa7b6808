---@meta native.task
-- Waiting, and doing several things at once, inside one task.

local task = {}

---@param seconds number
function task.sleep(seconds) end

--- Runs the functions side by side, 64 at most. Gives the first result of each, in order.
--- Raises the first fault once all have ended.
---@param fns function[]
---@return any ...
function task.all(fns) end

--- Until the task must have ended.
---@return number seconds
function task.deadline() end

return task
