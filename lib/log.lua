-- Structured logs: one JSON object a line; the host adds the ids of the current span.
--
--   log.warn("order cancelled", { order_id = id, kind = why.kind })
--
-- The message names what happened and never varies; what varies is a field (text, number
-- or boolean). Never log a password, a token or a card number.
local native = require "native.log"

local log = {}

---@type fun(message: string, fields?: table)
log.debug = native.debug

---@type fun(message: string, fields?: table)
log.info = native.info

---@type fun(message: string, fields?: table)
log.warn = native.warn

---@type fun(message: string, fields?: table)
log.error = native.error

return log
