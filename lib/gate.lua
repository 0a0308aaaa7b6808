-- A gateway: which paths are forwarded where, within which limits. Declared while the
-- file loads; the host forwards by itself, and runs a script for a request only where a
-- route has `before`.
--
--   local app, gate = require "app", require "gate"
--   local s = app.service "gateway"
--   local edge = gate.on(s)
--   local orders = edge:upstream "orders" -- at upstreams.orders of the lab's settings
--   local all = edge:limit("all", { requests = 100, per_s = 1 })
--   edge:route("/api/v1/orders", orders, { limits = { all } })
--   return s
--
-- The declarations are plain tables in service.gate, complete and checked: a wrong one is
-- an error at the line that makes it.
local headers_of = require "gate_headers"
local native = require "native.gate"
local options_of = require "gate_options"

local gate = {}

local upstreams_max, routes_max, limits_per_route = 64, 256, 4

---@class edge
local edge = {}
local of_edge = { __index = edge, __metatable = false }

-- "scripts/x/service.lua:12: " of whoever called the method that asks; the host puts it
-- in front of what it finds wrong later.
local function caller()
  local _, at = pcall(error, "", 4)
  return at:gsub(": $", "")
end

local function name_trouble(name, list)
  if type(name) ~= "string" or #name > 64 or not name:find("^%l[%l%d_-]*$") then
    return "a name begins with a small letter; digits, '_' and '-' may follow"
  end
  for _, entry in ipairs(list) do
    if entry.name == name then
      return ("'%s' is there already, at %s"):format(name, entry.at)
    end
  end
end

local function add(list, entry, at)
  entry.at = at
  list[#list + 1] = entry
  return entry
end

local function has(list, wanted)
  local found = false
  for _, entry in ipairs(list) do
    found = found or entry == wanted
  end
  return found
end

--- Where requests go: one service, at one address or several.
---@param name string
---@param options? gate_upstream_options
---@return table upstream for edge:route
function edge:upstream(name, options)
  local list, at = self.made.upstreams, caller()
  local why = name_trouble(name, list)
  why = why or #list >= upstreams_max and "there are too many of them"
  if why then
    error("upstream: " .. why, 2)
  end
  local made
  made, why = options_of.upstream(name, options or {})
  if not made then
    error(("upstream '%s': %s"):format(name, why), 2)
  end
  made.name = name
  return add(list, made, at)
end

--- How often a caller may ask; the same limit may be on several routes, which it then
--- counts together.
---@param name string the same in all replicas
---@param options gate_limit_options
---@return table limit for edge:route
function edge:limit(name, options)
  local list, at = self.made.limits, caller()
  local why = name_trouble(name, list)
  if why then
    error("limit: " .. why, 2)
  end
  local made
  made, why = options_of.limit(options or {})
  if not made then
    error(("limit '%s': %s"):format(name, why), 2)
  end
  made.name = name
  return add(list, made, at)
end

local function limits_trouble(made, limits)
  if type(limits) ~= "table" or #limits > limits_per_route then
    return ("'limits' has to be a list of up to %d limits"):format(limits_per_route)
  end
  for _, limit in ipairs(limits) do
    if not has(made.limits, limit) then
      return "'limits' has to hold what edge:limit gave"
    end
  end
end

local function route_trouble(made, prefix, upstream, options)
  if not has(made.upstreams, upstream) then
    return "goes to no upstream: give it what edge:upstream gave"
  elseif options.before ~= nil and type(options.before) ~= "function" then
    return "'before' has to be a function"
  elseif #made.routes >= routes_max then
    return "there are too many routes"
  end
  for _, other in ipairs(made.routes) do
    if other.prefix == prefix then
      return "is there already, at " .. other.at
    end
  end
  return limits_trouble(made, options.limits or {})
end

--- Forwards a prefix, of whole segments, and what is below it. The longest one wins; the
--- service's own routes win over all.
---@param prefix string "/api/v1/orders"
---@param upstream table
---@param options? gate_route_options
function edge:route(prefix, upstream, options)
  options = options or {}
  local at = caller()
  local route, why = options_of.route(prefix, options)
  why = why or route_trouble(self.made, prefix, upstream, options)
  if why then
    error(("route '%s': %s"):format(tostring(prefix), why), 2)
  end
  route.prefix, route.upstream, route.before = prefix, upstream.name, options.before
  route.limits = {}
  for i, limit in ipairs(options.limits or {}) do
    route.limits[i] = limit.name
  end
  add(self.made.routes, route, at)
end

--- Headers for answers that lack them.
---@param headers table<string, string>
function edge:headers(headers)
  local made, why = headers_of.read(headers)
  if not made then
    error("headers: " .. why, 2)
  end
  self.made.headers = made
end

--- Who may read answers from a page of another origin (CORS).
---@param options {origins: string[], methods: string[], headers: string[],
---  expose: string[], credentials: boolean, max_age_s: integer}
function edge:cors(options)
  local made, why = headers_of.cors(options)
  if not made then
    error("cors: " .. why, 2)
  end
  self.made.cors = made
end

--- Makes a gateway of the service, once.
---@param service service
---@return edge
function gate.on(service)
  if type(service) ~= "table" or type(service.routes) ~= "table" or service.gate then
    error("gate.on takes a service, once", 2)
  end
  service.gate = { upstreams = {}, limits = {}, routes = {}, headers = {} }
  return setmetatable({ made = service.gate }, of_edge)
end

--- For `before`: the request goes on with these headers in place of the client's.
---@param headers table<string, string>
---@return table
function gate.with(headers)
  local made, why = headers_of.read(headers, true)
  if not made then
    error("gate.with: " .. why, 2)
  end
  return { with = made }
end

--- What this worker knows of the addresses of its upstreams.
---@type fun(): gate_address[]
gate.status = native.status

return gate
