---@meta native.test
-- Where `orrery test` runs only. lib/test.lua is what tests use.

---@class native.span
---@field name string
---@field kind string "internal", "server", "client", "producer" or "consumer"
---@field trace_id string
---@field span_id string
---@field parent_span_id? string
---@field failed boolean
---@field error_type? string
---@field attributes table<string, string|number|boolean>

---@class native.log_record
---@field severity string "debug", "info", "warn" or "error"
---@field message string
---@field attributes table<string, string|number|boolean>
---@field trace_id? string
---@field span_id? string

local test = {}

--- Breaks something on purpose; without an effect it works again.
---@param point string "pg_query", "redis_command", ...
---@param effect? {delay_ms: integer, fail: string, cut: boolean}
---@param times? integer
function test.chaos(point, effect, times) end

--- require looks into scripts/<folder> too, and conf has that service's settings.
---@param folder string "oms/orders"
function test.folder(folder) end

--- What was logged in this case.
---@return native.log_record[] records
function test.logs() end

--- Sets a member, also where the target is read-only.
---@param target table
---@param name any
---@param value any
function test.patch(target, name, value) end

--- The spans that have ended in this case, in that order.
---@return native.span[] spans
function test.spans() end

--- The value of a series; of a histogram or summary the count.
---@param name string
---@param labels? string[] values, in the order of their declaration
---@return number? value nil: there is no such series
function test.value(name, labels) end

return test
