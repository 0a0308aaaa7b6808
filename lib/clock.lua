-- Time. Wall time says when, monotonic time says how long; do not mix them.
local native = require "native.clock"

local clock = {}

--- Seconds since 1970, with a fraction.
---@type fun(): number
clock.now = native.now

--- Seconds since some fixed moment; never goes back.
---@type fun(): number
clock.mono = native.mono

--- "2026-11-20T11:00:00.123Z" of now, or of the given seconds since 1970.
---@type fun(seconds?: number): string
clock.iso = native.iso

return clock
