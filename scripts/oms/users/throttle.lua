-- Against guessing: failed logins are counted in Redis, those of an account's address and
-- those of a client. An address that was guessed at too often waits, each time longer,
-- whoever guesses. A client that failed too often waits for the end of its window: so one
-- password is not tried on every address there is.
--
-- Guesses that run side by side gain nothing: every outcome is told only after the counts
-- have taken it, in one step in Redis, and above a limit nobody is told whether the
-- password was right. So right ones never add up, however many log in at once. One that
-- was right clears the address, and never the client: else whoever has an account would
-- clear the count of his guesses.
--
-- Keys hold digests. While Redis is away nobody is counted.
local cache = require "cache"
local conf = require "conf"
local crypto = require "crypto"
local log = require "log"

local throttle = {}

local failures_max = conf.option("login_failures_max", 10)
local client_failures_max = conf.option("login_failures_per_client_max", 1000)
local window_s = conf.option("login_window_s", 300)

-- KEYS: the address, and the client when it is counted. ARGV: verb, window, the limits.
-- Gives the seconds to wait before the outcome may be known, else 0. "look" changes
-- nothing. A count begins anew a window after its first failure; that of an address that
-- had to wait, a window after its last wait. The failure that reaches a limit is still
-- told. The next one at the address has to wait a tenth of the window, and every further
-- failure doubles that, up to the whole.
local script = [[
  local verb, window = ARGV[1], tonumber(ARGV[2])
  local now, wait = tonumber(redis.call("TIME")[1]), 0
  for _, key in ipairs(KEYS) do
    local free = tonumber(redis.call("HGET", key, "free_at") or now)
    wait = math.max(wait, free - now)
  end
  if wait > 0 or verb == "look" then
    return wait
  elseif verb == "right" then
    redis.call("DEL", KEYS[1])
    return 0
  end
  for i, key in ipairs(KEYS) do
    local limit = tonumber(ARGV[2 + i])
    local failures = redis.call("HINCRBY", key, "failures", 1)
    if failures == 1 then
      redis.call("EXPIRE", key, window)
    end
    if failures >= limit and i == 1 then
      wait = math.ceil(window / 10) * 2 ^ math.min(failures - limit, 20)
      wait = math.min(wait, window)
      redis.call("EXPIRE", key, string.format("%d", wait + window))
    elseif failures >= limit then
      wait = redis.call("TTL", key)
    end
    if failures >= limit then
      redis.call("HSET", key, "free_at", string.format("%d", now + wait))
    end
  end
  return 0
]]

local function groups_of(text)
  local groups = {}
  for group in text:gmatch("%x+") do
    groups[#groups + 1] = group
  end
  return groups
end

-- Whose address it is: one who has an IPv6 address has all of its /64.
local function client_of(peer)
  if not peer:find(":", 1, true) then
    return peer
  end
  local left, right = peer:match("^([^%%]-)::([^%%]*)")
  local head, tail = groups_of(left or peer), groups_of(right or "")
  for i = #head + 1, 4 do
    head[i] = tail[i - 8 + #tail] or "0"
  end
  return table.concat(head, ":", 1, 4)
end

local function key_of(prefix, text)
  return cache.key(prefix .. crypto.fingerprint(text:lower()))
end

local function run(peer, address, ...)
  if peer ~= "" and client_failures_max > 0 then
    local client = key_of("login-client:", client_of(peer))
    return cache.command("EVAL", script, 2, address, client, ...)
  end
  return cache.command("EVAL", script, 1, address, ...)
end

local function ask(address, peer, verb)
  local wait, why = run(peer, key_of("login:", address), verb, window_s, failures_max,
    client_failures_max)
  if why then
    log.warn("login not counted", { kind = why.kind, error = why.detail })
    return 0
  end
  return wait
end

--- How many seconds somebody has to wait, before work is spent on him.
---@param address string of the account
---@param peer string of the client; "" counts for nobody
---@return integer seconds 0: he may try
function throttle.wait(address, peer)
  return ask(address, peer, "look")
end

--- Counts how an attempt went. When it came too late for a limit the answer is not 0, and
--- nobody may be told how it went.
---@param address string
---@param peer string
---@param right boolean
---@return integer seconds
function throttle.settle(address, peer, right)
  return ask(address, peer, right and "right" or "wrong")
end

return throttle
