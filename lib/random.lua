-- Random values from the system's source, except where a test has seeded them.
local native = require "native.random"

local random = {}

--- A version 4 UUID as text.
---@type fun(): string
random.uuid = native.uuid

--- Lower-case hex digits of so many random bytes.
---@type fun(bytes: integer): string
random.hex = native.hex

--- An integer from low to high, both included.
---@type fun(low: integer, high: integer): integer
random.integer = native.integer

--- A number, at least 0 and below 1.
---@type fun(): number
random.number = native.number

--- A duration as services in the wild show it: log-normal, so most are near the median
--- and a few take long, but never less than a third of the median nor more than six times
--- it.
---@param median number
---@param spread? number standard deviation of the logarithm, 0.35 by default
---@return number
function random.duration(median, spread)
  local radius = math.sqrt(-2 * math.log(1 - random.number()))
  local normal = radius * math.cos(2 * math.pi * random.number())
  local value = median * math.exp((spread or 0.35) * normal)
  return math.max(median / 3, math.min(median * 6, value))
end

return random
