---@meta native.gate
-- What the gateway of this worker knows of its upstreams.

local gate = {}

---@class gate_address
---@field upstream string
---@field address string "127.0.0.1:8001"
---@field up boolean by its health checks
---@field breaker "closed"|"open"|"half_open"
---@field active integer requests under way
---@field idle integer kept connections
---@field attempts integer since it is known
---@field failures integer of them
---@field trouble? string what the last one that failed failed with

--- The addresses of all upstreams.
---@return gate_address[] addresses
function gate.status() end

return gate
