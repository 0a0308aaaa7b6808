-- Calls a route of a service the way the host does, without a socket: for lib/test.lua.
local fault = require "fault"
local json = require "json"

local function segments(path)
  local list = {}
  for segment in path:gmatch("[^/]+") do
    list[#list + 1] = segment
  end
  return list
end

local function match(template, path)
  local want, have, found = segments(template), segments(path), {}
  if #want ~= #have then
    return nil
  end
  for i, segment in ipairs(want) do
    if segment:sub(1, 1) == ":" then
      found[segment:sub(2)] = have[i]
    elseif segment ~= have[i] then
      return nil
    end
  end
  return found
end

-- The value as it would be after a trip over the wire.
local function wire(value)
  return value ~= nil and json.decode(json.encode(value)) or nil
end

-- What the handler returns or raises becomes an answer; a bug stays an error.
local function settle(ok, status, body, headers)
  if not ok and not fault.is(status) then
    error(status, 0)
  elseif not ok or fault.is(status) then
    status, body, headers = fault.problem(status)
  elseif status == nil and fault.is(body) then
    status, body, headers = fault.problem(body)
  end
  return { status = status, body = wire(body), headers = headers or {} }
end

--- The answer and its route, or nil when there is no such route.
---@param service service
---@param line string "POST /api/v1/orders"
---@param headers table lower-case names
---@param options {body: any, query: table, peer: string?}
---@return {status: integer, body: any, headers: table}?
---@return table? route the entry of service.routes
return function(service, line, headers, options)
  local method, path = line:match("^(%u+) (/.*)$")
  for _, route in ipairs(service.routes) do
    local found = route.method == method and match(route.path, path)
    if found then
      local body = wire(options.body)
      local answer = settle(pcall(route.handler, {
        method = method, path = found, query = options.query or {}, headers = headers,
        body = body, raw = body and json.encode(body) or "", route = route.path,
        peer = options.peer or "127.0.0.1",
      }))
      return answer, route
    end
  end
end
