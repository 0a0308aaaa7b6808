---@meta native.clock
-- Time of day and time that passes.

local clock = {}

--- Seconds since 1970, with a fraction.
---@return number seconds
function clock.now() end

--- Seconds since some fixed moment; never goes back.
---@return number seconds
function clock.mono() end

--- RFC 3339 in UTC with milliseconds, of now or of so many seconds since 1970.
---@param seconds? number
---@return string text "2026-11-20T11:00:00.123Z"
function clock.iso(seconds) end

return clock
