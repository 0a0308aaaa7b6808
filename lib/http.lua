-- Calls to other services. JSON goes out and comes back; the trace context travels along.
--
-- `nil, why` means that no usable answer came: unavailable and timeout promise that
-- nothing was written; uncertain says that something may have been. An answer is an
-- answer, whatever its status: look at `ok`, turn the rest with `http.why`.
--
-- An upstream may have several addresses, for replicas of one service. Which is asked is
-- left to chance. What one did not get, for it cannot be reached, goes to the next; what
-- it may have got goes there too when the call is repeatable or only reads. All of that
-- happens within the time of one call.
--
-- A call waits for timeout_s, and never longer than the request that it is made for has
-- left. It says so in the header x-envoy-expected-rq-timeout-ms, and a service of the lab
-- that gets it works no longer than that; a header of your own by this name is sent as it
-- is.
local addresses = require "addresses"
local clock = require "clock"
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

local function urls_of(upstream)
  local urls = addresses.of((conf.get("upstreams") or {})[upstream] or "")
  return urls[1] and urls
    or fault.raise("internal", "no upstream is configured as " .. upstream)
end

local function decoded(response)
  local kind = response.headers["content-type"] or ""
  if kind:find("^application/json") or kind:find("^application/[%w.-]+%+json") then
    return json.decode(response.body)
  end
  return response.body
end

-- Whether a request that may have arrived somewhere may go elsewhere as well.
local function goes_on(why, repeatable)
  return why.kind == "unavailable"
    or repeatable and (why.kind == "uncertain" or why.kind == "broken")
end

-- Asks one address after the other. What one of them may have done stays in doubt,
-- whatever the next one says, unless that is an answer.
local function send(request, urls, path, timeout_s, repeatable)
  local ends_at, unsafe = clock.mono() + timeout_s, not safe[request.method]
  local response, why, doubt
  for i, url in ipairs(urls) do
    request.url = url .. path
    request.timeout_s = i == 1 and timeout_s or ends_at - clock.mono()
    if request.timeout_s <= 0 and i > 1 then
      break
    end
    response, why = http.request(request)
    if response then
      addresses.answered(url)
      return response
    end
    if why.kind == "unavailable" then
      addresses.failed(url)
    elseif why.kind == "broken" and unsafe then -- but it has our request
      why = fault.new("uncertain", why.detail)
    end
    doubt = doubt or why.kind == "uncertain" and why
    if not goes_on(why, repeatable) then
      break
    end
  end
  return nil, doubt or why
end

--- Calls another service of the lab. `repeatable` says that sending the request twice is
--- as good as once (it has a key), so that a lost connection is no reason to fail.
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
  local response, why = send({
    method = method,
    headers = headers,
    body = options.body ~= nil and json.encode(options.body) or nil,
    retry_stale_ok = options.repeatable,
  }, urls_of(upstream), path, options.timeout_s or 2,
    options.repeatable or safe[method])
  if not response then
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
