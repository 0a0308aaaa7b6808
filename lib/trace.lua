-- Spans. The host makes one for each request, message, job, query, call and publish by
-- itself; a script adds a span only for a step that deserves a name of its own.
local native = require "native.trace"

local trace = {}

--- Runs fn inside a span and gives its results: trace.span("price", fn) or
--- trace.span("price", { lines = 3 }, fn).
---@param name string
---@param attributes table|function
---@param fn? function
---@return any ...
function trace.span(name, attributes, fn)
  if fn == nil then
    return native.span(name, nil, attributes)
  end
  return native.span(name, attributes, fn)
end

--- traceparent and tracestate of the current span, to be kept with work that goes on
--- later.
---@type fun(): string?, string?
trace.context = native.context

--- Runs fn with a kept context as its parent.
---@type fun(traceparent: string?, tracestate: string?, fn: function): any
trace.continue = native.continue

--- Adds an attribute to the current span.
---@type fun(key: string, value: string|number|boolean)
trace.set = native.set

return trace
