---@meta native.log
-- Structured logs: what varies is a field (text, number, boolean; a table becomes JSON).
-- Fields whose name tells a secret are redacted.

local log = {}

---@param message string
---@param fields? table
function log.debug(message, fields) end

---@param message string
---@param fields? table
function log.info(message, fields) end

---@param message string
---@param fields? table
function log.warn(message, fields) end

---@param message string
---@param fields? table
function log.error(message, fields) end

return log
