-- The headers that a gateway adds to answers, and to what it forwards: for lib/gate.lua.
local json = require "json"
local options = require "gate_options"
local shape = require "shape"

local gate_headers = {}

local word = shape.text(1, 128, "^[%w!#$&'*+.^_`|~-]+$", "a word without blanks")
local words = shape.optional(shape.list(word, 0, 64))
local values = shape.map(shape.text(1, 4000, "^[^%c]+$", "one line of text"))

local kind = shape.object {
  origins = shape.list(shape.text(1, 256, "^[!-~]+$", "an origin"), 1, 64),
  methods = words,
  headers = words,
  expose = words,
  credentials = shape.optional(shape.boolean, false),
  max_age_s = shape.optional(shape.integer(0, 86400), 600),
}

local methods = { "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE" }
local headers = {
  "authorization", "content-type", "idempotency-key", "if-match", "if-none-match",
  "x-request-id",
}
local expose = {
  "etag", "location", "ratelimit", "ratelimit-policy", "retry-after", "x-request-id",
}

local of_connection = {}
for _, name in ipairs {
  "connection", "content-length", "expect", "host", "keep-alive", "proxy-connection",
  "te", "trailer", "transfer-encoding", "upgrade",
} do
  of_connection[name] = true
end

-- Of a request: what the gateway says of it itself, and would leave out.
local function is_the_gateways(name)
  return name == "x-request-id" or name == "forwarded" or name == "x-real-ip"
    or name == "proxy" or name == "http2-settings" or name == "proxy-authorization"
    or name == "traceparent" or name == "tracestate" or name:find("^x%-forwarded%-")
    or name:find("^x%-envoy%-")
end

local function bad_origin(given)
  for _, origin in ipairs(given.origins) do
    if origin == "*" then
      if #given.origins > 1 or given.credentials then
        return "the origin '*' stands alone, and without 'credentials'"
      end
    elseif not origin:find("^%w[%w+.-]*://[%w.:%[%]-]+$") then
      return ("'%s' is no origin: scheme://host, and :port"):format(origin)
    end
  end
end

--- What CORS answers with, or nil and why not.
---@param given table
---@return table? value
---@return string? why
function gate_headers.cors(given)
  local marked = {}
  for name, member in pairs(type(given) == "table" and given or {}) do
    marked[name] = type(member) == "table" and json.array { unpack(member) } or member
  end
  local value, why = options.read(kind, marked)
  why = why or bad_origin(value)
  if why then
    return nil, why
  end
  value.methods = table.concat(value.methods or methods, ", ")
  value.headers = table.concat(value.headers or headers, ", ")
  value.expose = table.concat(value.expose or expose, ", ")
  return value
end

--- Headers with their names in lower case, or nil and why not.
---@param given table
---@param of_request? boolean they are for what is forwarded
---@return table<string, string>? headers
---@return string? why
function gate_headers.read(given, of_request)
  if type(given) ~= "table" then
    return nil, "what it takes is a table of names and values"
  end
  local found, why = options.read(values, given)
  local made, count = {}, 0
  for name, value in pairs(found or {}) do
    if not name:find(word.pattern) then
      return nil, ("'%s' is no name of a header"):format(name)
    elseif of_connection[name:lower()] then
      return nil, ("'%s' belongs to the connection"):format(name)
    elseif of_request and is_the_gateways(name:lower()) then
      return nil, ("'%s' is said by the gateway itself"):format(name)
    end
    made[name:lower()] = value
    count = count + 1
  end
  if count > 32 then
    return nil, "there are more than 32 headers"
  end
  return found and made, why
end

return gate_headers
