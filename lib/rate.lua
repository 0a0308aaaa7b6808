-- How often something may happen, for all replicas together: at most so many times within
-- any stretch of the window, counted in Redis.
--
--   local free, wait_s = rate.take("user:" .. id, 30, 60)
--   if not free then
--     return fault.new("limit", "...", { headers = { ["Retry-After"] = wait_s } })
--   end
--
-- A key's list has the times of what was let through, the newest first, as Redis' own
-- clock tells them. The one `limit` places back decides: when it is within the window,
-- this one has to wait until it is not. A script does that in one step, so two replicas
-- cannot both take the last place. Refusals take no place.
--
-- Without Redis everything is let through: a limit protects, and is no reason to stop.
local cache = require "cache"
local fault = require "fault"
local log = require "log"

local rate = {}

-- KEYS: the list. ARGV: limit, window in microseconds. Gives how long to wait, 0 when it
-- was let through. A clock that was set back makes nobody wait for longer than a window.
local script = [[
local limit, window = tonumber(ARGV[1]), tonumber(ARGV[2])
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000000 + tonumber(time[2])
local last = redis.call('LINDEX', KEYS[1], limit - 1)
if last then
  local wait = tonumber(last) + window - now
  if wait > 0 then
    return math.min(wait, window)
  end
end
redis.call('LPUSH', KEYS[1], string.format('%.0f', now))
redis.call('LTRIM', KEYS[1], 0, limit - 1)
redis.call('PEXPIRE', KEYS[1], math.ceil(window / 1000))
return 0]]

local lost = false

-- Says once that Redis went away, and once that it is back.
local function notice(why)
  if (why ~= nil) ~= lost then
    lost = why ~= nil
    if lost then
      log.warn("rate limits lost, going on without", {
        kind = why.kind, error = why.detail,
      })
    else
      log.info("rate limits are back")
    end
  end
end

--- Takes a place for a key of this service: true, or false and the whole seconds until
--- there will be one.
---@param key string
---@param limit integer how many within a window
---@param window_s number
---@return boolean taken
---@return integer? wait_s
function rate.take(key, limit, window_s)
  if limit < 1 or limit % 1 ~= 0 or not (window_s > 0) then
    error("a limit is a whole number from 1, its window longer than nothing", 2)
  end
  local wait_us, why = fault.catch(function()
    return cache.command("EVAL", script, 1, cache.key("rate:" .. key),
      limit, ("%.0f"):format(window_s * 1e6))
  end)
  notice(why)
  if why or wait_us == 0 then
    return true
  end
  return false, math.ceil(wait_us / 1e6)
end

return rate
