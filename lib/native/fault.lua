---@meta native.fault
-- Failures: a kind out of base/fault.def, and words. The host answers with the kind's
-- status.

---@class fault
---@field kind string "bad_input", "denied", "limit", "missing", "refused", "timeout", ...
---@field detail string
---@field status? integer an HTTP status where it is not the kind's own
---@field errors? {field: string, message: string}[]
---@field headers? table<string, string>

local fault = {}

--- fields become members: status, errors, headers, and further ones of the answer.
---@param kind string
---@param detail string
---@param fields? table
---@return fault fault
function fault.new(kind, detail, fields) end

--- Raises one; does not return.
---@param kind string
---@param detail string
---@param fields? table
---@return nil never
function fault.raise(kind, detail, fields) end

--- Whether it was made here, or by the host.
---@param value any
---@return boolean
function fault.is(value) end

---@param fault fault
---@return integer status the HTTP status it answers with
function fault.status(fault) end

return fault
