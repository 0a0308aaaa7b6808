-- Calls to other services. JSON goes out and comes back; the trace context travels along.
--
-- `nil, why` means that no usable answer came: unavailable and timeout promise that
-- nothing was written; uncertain says that something may have been. An answer is an
-- answer, whatever its status: look at `ok`, turn the rest with `http.why`.
--
-- A call waits for timeout_s, and never longer than the request that it is made for has
-- left. It says so in the header x-envoy-expected-rq-timeout-ms, and a service of the lab
-- that gets it works no longer than that; a header of your own by this name is sent as it
-- is.
local conf = require "conf"
local fault = require "fault"
local json = require "json"
local native = require "native.http"

local http = {}

---@class answer
---@field ok boolean      status is 200 to 299
---@field status integer
---@field headers table   names in lower case
---@field body any        decoded when it is JSON, else text

local safe = { GET = true, HEAD = true, OPTIONS = true }

---@type fun(request: table): table?, fault?
http.request = native.request

local function base_url(upstream)
  local url = (conf.get("upstreams") or {})[upstream]
  return url or fault.raise("internal", "no upstream is configured as " .. upstream)
end

local function decoded(response)
  local kind = response.headers["content-type"] or ""
  if kind:find("^application/json") or kind:find("^application/[%w.-]+%+json") then
    return json.decode(response.body)
  end
  return response.body
end

--- Calls another service of the lab. `repeatable` says that sending the request twice is
--- as good as once (it has a key), so that a kept connection found closed is no reason to
--- fail.
---@param upstream string a name of the setting `upstreams`
---@param method string
---@param path string
---@param options? {body: table, headers: table, timeout_s: number, repeatable: boolean}
---@return answer? answer
---@return fault? why
function http.call(upstream, method, path, options)
  options = options or {}
  local headers = { Accept = "application/json" }
  for name, value in pairs(options.headers or {}) do
    headers[name] = value
  end
  if options.body ~= nil then
    headers["Content-Type"] = "application/json"
  end
  local response, why = http.request {
    method = method,
    url = base_url(upstream) .. path,
    headers = headers,
    body = options.body ~= nil and json.encode(options.body) or nil,
    timeout_s = options.timeout_s or 2,
    retry_stale_ok = options.repeatable,
  }
  if not response then
    if why.kind == "broken" and not safe[method] then -- but it has our request
      why = fault.new("uncertain", why.detail)
    end
    return nil, why
  end
  return {
    ok = response.status >= 200 and response.status < 300,
    status = response.status,
    headers = response.headers,
    body = decoded(response),
  }
end

-- Members that the answer to our own caller gets anew.
local ours = {
  type = true, title = true, trace_id = true, instance = true, headers = true,
}

--- The failure that an answer tells of, in our own words and with its further members.
---@param answer answer
---@return fault
function http.why(answer)
  local document = type(answer.body) == "table" and answer.body or {}
  local fields = {}
  for name, value in pairs(document) do
    if not ours[name] then
      fields[name] = value -- false is a value too
    end
  end
  fields.status = answer.status
  local kind = fault.is(document) and document.kind or fault.kind_of(answer.status)
  if kind == "internal" then -- their bug, not ours
    kind, fields.status = "broken", nil
  end
  return fault.new(kind, tostring(document.detail or "status " .. answer.status), fields)
end

return http
