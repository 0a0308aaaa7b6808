---@meta native.trace
-- Spans of a script's own, and the context that work goes on with.

local trace = {}

--- Runs fn with a kept context as its parent; without one, just runs it.
---@param traceparent? string
---@param tracestate? string
---@param fn function
---@return any ... what fn gives
function trace.continue(traceparent, tracestate, fn) end

--- Runs fn inside a span; what it raises fails the span.
---@param name string
---@param attributes? table<string, string|number|boolean> at most 32
---@param fn function
---@return any ... what fn gives
function trace.span(name, attributes, fn) end

--- Of the current span. Always two values.
---@return string? traceparent
---@return string? tracestate
function trace.context() end

--- An attribute of the current span.
---@param key string
---@param value string|number|boolean
function trace.set(key, value) end

return trace
