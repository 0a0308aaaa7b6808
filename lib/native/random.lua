---@meta native.random
-- Random numbers that nobody can guess.

local random = {}

---@param bytes integer
---@return string digits twice as many, lower case
function random.hex(bytes) end

--- Both bounds are included.
---@param low integer
---@param high integer
---@return integer
function random.integer(low, high) end

--- From 0 to below 1.
---@return number
function random.number() end

--- Version 4 (RFC 9562).
---@return string
function random.uuid() end

return random
