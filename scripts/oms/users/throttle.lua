-- Against guessing: failed logins of an address are counted in Redis, and whoever has
-- guessed too often waits, each time longer.
--
-- Guesses that run side by side gain nothing: every outcome is told only after the count
-- has taken it, in one step in Redis, and above the limit nobody is told whether the
-- password was right. So right ones never add up, however many log in at once.
--
-- Keys hold a digest of the address. While Redis is away nobody is counted.
local cache = require "cache"
local conf = require "conf"
local crypto = require "crypto"
local log = require "log"

local throttle = {}

local failures_max = conf.option("login_failures_max", 10)
local window_s = conf.option("login_window_s", 300)

-- Seconds to wait before the outcome may be known, else 0. "look" changes nothing. The
-- count begins anew a window after its first failure, or a window after the last wait.
-- The failure that reaches the limit is still told; the next has to wait a tenth of the
-- window, and every further failure doubles that, up to the whole.
local script = [[
  local now = tonumber(redis.call("TIME")[1])
  local limit, window = tonumber(ARGV[2]), tonumber(ARGV[3])
  local free = tonumber(redis.call("HGET", KEYS[1], "free_at") or now)
  if free > now then
    return free - now
  elseif ARGV[1] == "right" then
    redis.call("DEL", KEYS[1])
  elseif ARGV[1] == "wrong" then
    local failures = redis.call("HINCRBY", KEYS[1], "failures", 1)
    if failures >= limit then
      local wait = math.ceil(window / 10) * 2 ^ math.min(failures - limit, 20)
      wait = math.min(wait, window)
      redis.call("HSET", KEYS[1], "free_at", string.format("%d", now + wait))
      redis.call("EXPIRE", KEYS[1], string.format("%d", wait + window))
    elseif failures == 1 then
      redis.call("EXPIRE", KEYS[1], window)
    end
  end
  return 0]]

local function ask(address, verb)
  local key = cache.key("login:" .. crypto.fingerprint(address:lower()))
  local wait, why = cache.command("EVAL", script, 1, key, verb, failures_max, window_s)
  if why then
    log.warn("login not counted", { kind = why.kind, error = why.detail })
    return 0
  end
  return wait
end

--- How many seconds an address has to wait, before work is spent on it.
---@param address string
---@return integer seconds 0: it may try
function throttle.wait(address)
  return ask(address, "look")
end

--- Counts how an attempt went. When it came too late for the limit the answer is not 0,
--- and nobody may be told how it went.
---@param address string
---@param right boolean
---@return integer seconds
function throttle.settle(address, right)
  return ask(address, right and "right" or "wrong")
end

return throttle
