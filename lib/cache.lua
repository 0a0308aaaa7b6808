-- A cache in Redis that may be lost at any moment: without it all still works, slower.
--
-- Keys are prefixed by the service's name. `drop` leaves a tombstone for a second instead
-- of deleting, and `put` never overwrites: a reader that read the database before a
-- change cannot put the old value back after it. One that took so long that the tombstone
-- may be gone puts nothing.
local clock = require "clock"
local conf = require "conf"
local json = require "json"
local log = require "log"
local metrics = require "metrics"
local native = require "native.redis"

local requests = metrics.counter("cache_requests_total",
  "Look-ups in the cache, by result.", { "result" })

for _, result in ipairs { "hit", "miss", "error" } do
  requests:zero(result)
end

local tombstone, tombstone_s = "-", 1
local reading_max_s = tombstone_s / 2 -- the rest is for the way to Redis
local lost = false

local cache = {}

--- A Redis command: its reply (nil for null), or nil, why. For what is more than a cache.
---@type fun(name: string, ...: string|number): any, fault?
cache.command = native.command

--- The full name of a key of this service.
---@param key string
---@return string
function cache.key(key)
  return conf.get("service") .. ":" .. key
end

-- Says once that Redis went away, and once that it is back.
local function run(...)
  local reply, why = cache.command(...)
  if (why ~= nil) ~= lost then
    lost = why ~= nil
    if lost then
      log.warn("cache lost, going on without", { kind = why.kind, error = why.detail })
    else
      log.info("cache is back")
    end
  end
  return reply, why
end

--- The value under a key, or nil.
---@param key string
---@return any
function cache.get(key)
  local text, why = run("GET", cache.key(key))
  local value
  if text and text ~= tombstone then
    value = json.decode(text)
  end
  requests:inc(why and "error" or value == nil and "miss" or "hit")
  return value
end

--- Keeps a value for so many seconds, unless the key holds something newer.
---@param key string
---@param value any
---@param ttl_s integer
function cache.put(key, value, ttl_s)
  run("SET", cache.key(key), json.encode(value), "EX", ttl_s, "NX")
end

--- Forgets a key.
---@param key string
function cache.drop(key)
  run("SET", cache.key(key), tombstone, "PX", tombstone_s * 1000)
end

--- Cache-aside: the cached value, else what fn gives, kept for next time unless it is
--- nil.
---@param key string
---@param ttl_s integer
---@param fn fun(): any, fault?
---@return any value
---@return fault? why
function cache.fetch(key, ttl_s, fn)
  local value, why = cache.get(key), nil
  if value == nil then
    local began = clock.mono()
    value, why = fn()
    if value ~= nil and clock.mono() - began < reading_max_s then
      cache.put(key, value, ttl_s)
    end
  end
  return value, why
end

return cache
