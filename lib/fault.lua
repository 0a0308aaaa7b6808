-- Failures as values: one small set of kinds, the same words as in C, logs and series.
--
-- A fault is a table {kind=, detail=, status=, errors=, headers=}; whatever else it holds
-- becomes a further member of its problem document. A handler returns or raises one, and
-- the host answers with the document. `problem` makes the same here, so that tests need
-- no host.
local native = require "native.fault"
local trace = require "native.trace"

local fault = {}

---@class fault
---@field kind string     one of the words of `kinds`
---@field detail string   for people; no secrets
---@field status? integer where it is not the kind's own
---@field errors? {field: string, message: string}[] for bad_input: every rejected field
---@field headers? table  headers of the response

local kinds = {
  bad_input = { 422, "Invalid input" },
  broken = { 502, "Bad answer from upstream" },
  cancelled = { 499, "Cancelled by the caller" },
  denied = { 401, "Not allowed" },
  internal = { 500, "Internal error" },
  limit = { 429, "Limit reached" },
  missing = { 404, "Not found" },
  refused = { 409, "Refused" },
  timeout = { 504, "Timed out" },
  unavailable = { 503, "Unavailable" },
  uncertain = { 503, "Outcome unknown" },
}

-- What an answer of another service means when it did not say it in our words.
local kind_of_status = {
  [400] = "bad_input", [401] = "denied", [402] = "refused", [403] = "denied",
  [404] = "missing", [405] = "missing", [408] = "timeout", [409] = "refused",
  [412] = "refused", [413] = "bad_input", [415] = "bad_input", [422] = "bad_input",
  [429] = "limit", [500] = "broken", [502] = "broken", [503] = "unavailable",
  [504] = "timeout",
}

--- A fault to return.
---@param kind string
---@param detail string
---@param fields? table status, errors, headers and further members
---@return fault
function fault.new(kind, detail, fields)
  if not kinds[kind] then
    error("unknown kind of fault: " .. tostring(kind), 2)
  end
  return native.new(kind, detail, fields)
end

--- Ends the task with a fault.
---@param kind string
---@param detail string
---@param fields? table
function fault.raise(kind, detail, fields)
  error(fault.new(kind, detail, fields), 0)
end

--- Whether a value is a fault, or a `why` that can serve as one.
---@param value any
---@return boolean
function fault.is(value)
  return type(value) == "table" and kinds[value.kind] ~= nil
end

--- The HTTP status a fault answers with.
---@param why fault
---@return integer
function fault.status(why)
  return why.status or kinds[why.kind][1]
end

--- The kind that an HTTP status stands for when the body does not say.
---@param status integer
---@return string
function fault.kind_of(status)
  return kind_of_status[status] or (status < 500 and "bad_input" or "broken")
end

--- Runs fn; a raised fault comes back as nil, why. Any other error goes on.
---@param fn function
---@return any result
---@return fault? why
function fault.catch(fn)
  local ok, result, why = pcall(fn)
  if ok then
    return result, why
  elseif fault.is(result) then
    return nil, result
  end
  error(result, 0)
end

--- The answer to a request that failed: status, problem document (RFC 9457), headers.
---@param why fault|string
---@return integer status
---@return table document
---@return table headers
function fault.problem(why)
  if not fault.is(why) then
    why = fault.new("internal", "the handler failed")
  end
  local status, document = fault.status(why), {}
  for name, value in pairs(why) do
    document[name] = value
  end
  local parent = trace.context()
  document.type = "about:blank"
  document.title, document.status = kinds[why.kind][2], status
  document.trace_id = parent and parent:sub(4, 35)
  document.headers = nil
  local headers = { ["Content-Type"] = "application/problem+json" }
  for name, value in pairs(why.headers or {}) do
    headers[name] = value
  end
  return status, document, headers
end

return fault
