-- What the declarations of a gateway take, with defaults: for lib/gate.lua.
local conf = require "conf"
local shape = require "shape"

local gate_options = {}

---@class gate_upstream_options
---@field address? string "http://host:port", several with commas between, or
---  "file:///path" of a list of them; else upstreams.<name> of the lab's settings, or
---  ORRERY_UPSTREAM_<NAME>
---@field balance? "round_robin"|"least_busy"
---@field resolve_ms? integer 1000; names and files are looked at again
---@field connect_timeout_ms? integer 1000
---@field connections_max? integer 512, per address and worker
---@field idle_max? integer 64 kept connections, per address and worker
---@field idle_timeout_ms? integer 30000; less than the upstream's own
---@field health? false|{path: string, interval_ms: integer, timeout_ms: integer,
---  fall: integer, rise: integer} "/ready", 500, 1000, 2, 1
---@field breaker? false|{failures: integer, open_ms: integer} 5 in a row, 2000
---@field retry? false|{attempts_max: integer, ratio: number, per_s: number} 3, the first
---  included; 0.2 retries for each request, and 10 a second

---@class gate_limit_options
---@field requests number so many
---@field per_s number in so many seconds, evenly
---@field burst? number at once; as many as `requests`
---@field by? string who is counted: "client" (its address), "all", "header:<name>"

---@class gate_route_options
---@field limits? table[] of edge:limit, 4 at most
---@field rewrite? string what stands in place of the prefix
---@field timeout_ms? integer 15000, until the answer's head, all attempts included
---@field idle_timeout_ms? integer 60000, between two pieces of the answer
---@field body_size_max? integer less than the host's
---@field upgrade? boolean WebSockets may pass
---@field upgrades_per_client_max? integer open at once; 0: any number
---@field before? fun(req: request): any runs first: nothing, or gate.with, goes on; a
---  fault, or status, body[, headers], is the answer

local optional, integer, text = shape.optional, shape.integer, shape.text

local function ms(default, least)
  return optional(integer(least or 1, 3600000), default)
end

local kinds = {
  upstream = shape.object {
    address = optional(text(1, 4096)),
    balance = optional(shape.one_of { "round_robin", "least_busy" }, "round_robin"),
    resolve_ms = ms(1000, 10),
    connect_timeout_ms = ms(1000),
    connections_max = optional(integer(1, 65535), 512),
    idle_max = optional(integer(0, 65535), 64),
    idle_timeout_ms = ms(30000),
    health = shape.object {
      path = optional(text(0, 1024, "^/?[!-~]*$", "a path"), "/ready"),
      interval_ms = ms(500, 10),
      timeout_ms = ms(1000),
      fall = optional(integer(1, 1000), 2),
      rise = optional(integer(1, 1000), 1),
    },
    breaker = shape.object {
      failures = optional(integer(0, 100000), 5),
      open_ms = ms(2000),
    },
    retry = shape.object {
      attempts_max = optional(integer(1, 8), 3),
      ratio = optional(shape.number, 0.2),
      per_s = optional(shape.number, 10),
    },
  },
  limit = shape.object {
    by = optional(text(1, 128), "client"),
    requests = shape.number,
    per_s = shape.number,
    burst = optional(shape.number),
  },
  route = shape.object {
    rewrite = optional(text(1, 1024)),
    timeout_ms = ms(15000),
    idle_timeout_ms = ms(60000),
    body_size_max = optional(integer(0, 2 ^ 30)),
    upgrade = optional(shape.boolean, false),
    upgrades_per_client_max = optional(integer(0, 1000000), 0),
  },
}

--- The values, with the shape's defaults, or nil and the first thing that is wrong.
---@param kind shape
---@param given table
---@return table? value
---@return string? why
function gate_options.read(kind, given)
  local value, errors = shape.check(kind, given)
  if errors then
    return nil, ("'%s' %s"):format(errors[1].field, errors[1].message)
  end
  return value
end

-- What is no table becomes one with a member that nothing knows.
local function copy(given, without)
  local made = {}
  for name, value in pairs(type(given) == "table" and given or { [given] = true }) do
    if not without[name] then
      made[name] = value
    end
  end
  return made
end

-- No part of a text: "http://a:1, http://b:2" is two.
local function bad_address(addresses)
  for address in addresses:gmatch("[^%s,]+") do
    if not address:find("^http://[%w.:%[%]-]+/?$") and not address:find("^file:///.") then
      return ("'%s' is no address: http://host:port or file:///path"):format(address)
    end
  end
  return not addresses:find("[^%s,]") and "the address is empty" or nil
end

--- An upstream's values, or nil and why not. `false` for health or breaker is none.
---@param name string
---@param given table
---@return table? value
---@return string? why
function gate_options.upstream(name, given)
  given = copy(given, {})
  given.health = given.health == false and { path = "" } or given.health or {}
  given.breaker = given.breaker == false and { failures = 0 } or given.breaker or {}
  given.retry = given.retry == false and { attempts_max = 1 } or given.retry or {}
  local value, why = gate_options.read(kinds.upstream, given)
  if not value then
    return nil, why
  end
  value.address = value.address or (conf.get("upstreams") or {})[name]
  if type(value.address) ~= "string" then
    return nil, ("has no address: set 'address', or upstreams.%s in the lab's settings, "
      .. "or ORRERY_UPSTREAM_%s"):format(name, name:upper())
  end
  why = bad_address(value.address)
  if not why and (value.retry.ratio < 0 or value.retry.per_s < 0) then
    why = "'retry.ratio' and 'retry.per_s' have to be 0 or more"
  end
  return not why and value or nil, why
end

--- A limit's values, or nil and why not.
---@param given table
---@return table? value
---@return string? why
function gate_options.limit(given)
  local value, why = gate_options.read(kinds.limit, copy(given, {}))
  if not value then
    return nil, why
  end
  local header = value.by:match("^header:([%w!#$&'*+.^_`|~-]+)$")
  if header then
    value.by, value.header = "header", header:lower()
  elseif value.by ~= "client" and value.by ~= "all" then
    return nil, "'by' has to be client, all, or header: and a name"
  end
  value.burst = value.burst or math.max(1, value.requests)
  if value.requests <= 0 or value.per_s <= 0 or value.burst < 1 then
    return nil, "'requests' and 'per_s' have to be above 0, 'burst' 1 or more"
  end
  return value
end

-- "/", or whole segments without an end: "/api/v1/orders".
local function is_prefix(path)
  return type(path) == "string" and (path == "/" or path:find("^/[^%c%s?#%%\\]*[^/]$")
    and not path:find("//", 1, true) and not (path .. "/"):find("/%.%.?/")) and true
end

--- A route's values, or nil and why not. `limits` and `before` are left to the caller.
---@param prefix any
---@param given table
---@return table? value
---@return string? why
function gate_options.route(prefix, given)
  if not is_prefix(prefix) then
    return nil, "a prefix begins with '/', has whole segments, and does not end in '/'"
  end
  given = copy(given, { limits = true, before = true })
  local value, why = gate_options.read(kinds.route, given)
  if value and value.rewrite and not is_prefix(value.rewrite) then
    return nil, "'rewrite' has to be a prefix too"
  end
  return value, why
end

return gate_options
