---@meta native.job
-- The service's own jobs.

local job = {}

--- The job runs soon, on worker 0, whichever worker asks. Calls add up to one run.
---@param name string
function job.wake(name) end

return job
