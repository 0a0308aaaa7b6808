-- Series of a service. Declare them at the top of the file: name with its base unit, help
-- text that ends with a full stop, label names of low cardinality.
--
--   local sold = metrics.counter("sold_total", "Widgets sold, by colour.", { "colour" })
--   sold:zero("red") -- the series exists before its first event: rates start at zero
--   sold:inc("red")
local clock = require "clock"
local native = require "native.metrics"

local metrics = {}

---@class counter
---@field inc fun(self, ...: string)
---@field add fun(self, amount: number, ...: string)
---@field zero fun(self, ...: string)

---@class gauge
---@field set fun(self, value: number, ...: string)
---@field add fun(self, amount: number, ...: string)
---@field zero fun(self, ...: string)

---@class histogram
---@field observe fun(self, value: number, ...: string)
---@field zero fun(self, ...: string)

---@class summary
---@field observe fun(self, value: number, ...: string)
---@field zero fun(self, ...: string)

---@type fun(name: string, help: string, labels?: string[]): counter
metrics.counter = native.counter

--- Either set or added to, never both. Set: the newest value wins, whichever thread set
--- it.
---@type fun(name: string, help: string, labels?: string[]): gauge
metrics.gauge = native.gauge

--- Without bounds: those of HTTP durations, 5 ms to 10 s.
---@type fun(name: string, help: string, labels?: string[], bounds?: number[]): histogram
metrics.histogram = native.histogram

--- Quantiles of the last minute, computed here: a look at one process. Those of two
--- replicas cannot be merged afterwards; a histogram's buckets can. No quantile is more
--- than 1.6 % beside the observation it stands for. Without quantiles: 0.5, 0.9, 0.99.
---@type fun(name: string, help: string, labels?: string[], quantiles?: number[]): summary
metrics.summary = native.summary

--- Runs fn and observes the seconds it took, also when it raises. Gives up to two
--- results.
---@param histogram histogram|summary
---@param fn function
---@param ... string label values
---@return any result
---@return any why
function metrics.time(histogram, fn, ...)
  local started = clock.mono()
  local ok, result, why = pcall(fn)
  histogram:observe(clock.mono() - started, ...)
  if not ok then
    error(result, 0)
  end
  return result, why
end

return metrics
