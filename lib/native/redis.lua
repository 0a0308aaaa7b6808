---@meta native.redis
-- One command at a time, within a second. Whatever goes wrong comes back as nil, why.

local redis = {}

--- Waits. Integers beyond 2^53 come as texts, null inside an array as false.
---@param name string "GET"
---@param ... string|number
---@return string|number|table|nil value nil without why: null
---@return fault? why
function redis.command(name, ...) end

return redis
