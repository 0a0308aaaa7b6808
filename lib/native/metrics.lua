---@meta native.metrics
-- Series. Label values are texts, in the order in which the labels were declared.

---@class native.counter
local counter = {}

---@param ... string label values
function counter:inc(...) end

--- Raises when it is negative.
---@param amount number
---@param ... string label values
function counter:add(amount, ...) end

--- The series exists from now on.
---@param ... string label values
function counter:zero(...) end

---@class native.gauge
local gauge = {}

---@param value number
---@param ... string label values
function gauge:set(value, ...) end

---@param amount number
---@param ... string label values
function gauge:add(amount, ...) end

--- The series exists from now on.
---@param ... string label values
function gauge:zero(...) end

---@class native.histogram
local histogram = {}

---@param value number
---@param ... string label values
function histogram:observe(value, ...) end

--- The series exists from now on.
---@param ... string label values
function histogram:zero(...) end

---@class native.summary
local summary = {}

--- Raises when it is negative.
---@param value number
---@param ... string label values
function summary:observe(value, ...) end

--- The series exists from now on.
---@param ... string label values
function summary:zero(...) end

local metrics = {}

---@param name string with its base unit; ends in _total
---@param help string a sentence
---@param labels? string[] at most 8
---@return native.counter counter
function metrics.counter(name, help, labels) end

---@param name string with its base unit
---@param help string a sentence
---@param labels? string[] at most 8
---@return native.gauge gauge
function metrics.gauge(name, help, labels) end

---@param name string with its base unit
---@param help string a sentence
---@param labels? string[] at most 8
---@param bounds? number[] ascending, at most 32; else those of HTTP durations in seconds
---@return native.histogram histogram
function metrics.histogram(name, help, labels, bounds) end

---@param name string with its base unit
---@param help string a sentence
---@param labels? string[] at most 8
---@param quantiles? number[] ascending, from 0 to 1, at most 32; else 0.5, 0.9 and 0.99
---@return native.summary summary
function metrics.summary(name, help, labels, quantiles) end

return metrics
