---@meta native.http
-- Outgoing HTTP/1.1. lib/http.lua is what services use.

---@class native.http_request
---@field method string
---@field url string "http://host:port/path"
---@field headers? table<string, string>
---@field body? string
---@field timeout_s? number the task's deadline counts as well
---@field retry_stale_ok? boolean whether sending it twice is as good as once

---@class native.http_answer
---@field status integer
---@field headers table<string, string> names in lower case
---@field body string

local http = {}

--- Waits. Client span, traceparent and what is left of the deadline go along. why.sent:
--- whether the other side may have got any of it.
---@param request native.http_request
---@return native.http_answer? answer of whatever status
---@return fault? why unavailable, timeout or broken
function http.request(request) end

return http
