-- Sessions in Redis. Each is a hash that expires by itself: whose it is, and digests of
-- the refresh token. Two sorted sets by time of expiry name them: one per user, to revoke
-- by, and one of all, to count by. The sets do not expire, so Redis never evicts them;
-- the sweep empties them.
--
-- A refresh token is "session.family.secret". The family stays for the session's life,
-- the secret is good for once. Whoever shows the family with another secret has had a
-- token that was used: two hold what one should, and the session ends. Whoever knows only
-- the session's id, which every access token tells, can end nothing.
local cache = require "cache"
local clock = require "clock"
local conf = require "conf"
local crypto = require "crypto"
local fault = require "fault"
local log = require "log"
local random = require "random"

local sessions = {}

local ttl_s = conf.option("session_ttl_s", 14 * 24 * 3600)
local most = conf.option("sessions_max", 1000)

-- The scripts run in Redis, each as one step. They take a session's key, its user's set,
-- the set of all, and what a session's key and a user's set begin with.
local scripts = {}

-- Above the bound of a user's sessions the one that would end first gives way.
scripts.open = [[
  local now = tonumber(redis.call("TIME")[1])
  local user, id, family, secret = ARGV[3], ARGV[4], ARGV[5], ARGV[6]
  local ends = now + tonumber(ARGV[7])
  local over = redis.call("ZCARD", KEYS[2]) - tonumber(ARGV[8]) + 1
  if over > 0 then
    local first = redis.call("ZPOPMIN", KEYS[2], over)
    for i = 1, #first, 2 do
      redis.call("DEL", ARGV[1] .. first[i])
      redis.call("ZREM", KEYS[3], user .. "/" .. first[i])
    end
  end
  redis.call("HSET", KEYS[1], "user", user, "family", family, "secret", secret)
  redis.call("EXPIREAT", KEYS[1], ends)
  redis.call("ZADD", KEYS[2], ends, id)
  redis.call("ZADD", KEYS[3], ends, user .. "/" .. id)
  return 1]]

scripts.rotate = [[
  local user, id, family, secret = ARGV[3], ARGV[4], ARGV[5], ARGV[6]
  local kept = redis.call("HMGET", KEYS[1], "user", "family", "secret")
  if kept[1] ~= user or kept[2] ~= family then
    return "unknown"
  elseif kept[3] ~= secret then
    redis.call("DEL", KEYS[1])
    redis.call("ZREM", KEYS[2], id)
    redis.call("ZREM", KEYS[3], user .. "/" .. id)
    return "used"
  end
  local ends = tonumber(redis.call("TIME")[1]) + tonumber(ARGV[7])
  redis.call("HSET", KEYS[1], "secret", ARGV[8])
  redis.call("EXPIREAT", KEYS[1], ends)
  redis.call("ZADD", KEYS[2], ends, id)
  redis.call("ZADD", KEYS[3], ends, user .. "/" .. id)
  return "rotated"]]

scripts.close = [[
  redis.call("ZREM", KEYS[2], ARGV[4])
  redis.call("ZREM", KEYS[3], ARGV[3] .. "/" .. ARGV[4])
  return redis.call("DEL", KEYS[1])]]

scripts.close_all = [[
  local ids = redis.call("ZRANGE", KEYS[2], 0, -1)
  for _, id in ipairs(ids) do
    redis.call("DEL", ARGV[1] .. id)
    redis.call("ZREM", KEYS[3], ARGV[3] .. "/" .. id)
  end
  redis.call("DEL", KEYS[2])
  return #ids]]

scripts.sweep = [[
  local now = redis.call("TIME")[1]
  local ended = redis.call("ZRANGEBYSCORE", KEYS[3], "-inf", now, "LIMIT", 0, 500)
  for _, member in ipairs(ended) do
    local user, id = string.match(member, "^(.-)/(.*)$")
    if user then
      redis.call("ZREM", ARGV[2] .. user, id)
    end
    redis.call("ZREM", KEYS[3], member)
  end
  return #ended]]

local function run(name, user_id, id, ...)
  local session, user = cache.key("session:"), cache.key("user-sessions:")
  return cache.command("EVAL", scripts[name], 3, session .. id, user .. user_id,
    cache.key("sessions"), session, user, user_id, id, ...)
end

local function written(id, family, secret)
  return ("%s.%s.%s"):format(id, family, secret)
end

local function read(token)
  local id, family, secret = token:match("^([%x%-]+)%.(%x+)%.(%x+)$")
  return id and #id == 36 and id, family, secret
end

--- Remembers that a user logged in: the session's id, and its first refresh token. While
--- Redis is away there is no such token.
---@return string id
---@return string? refresh_token
function sessions.open(user_id)
  local id, family, secret = random.uuid(), random.hex(16), random.hex(32)
  local _, why = run("open", user_id, id, crypto.fingerprint(family),
    crypto.fingerprint(secret), ttl_s, most)
  if why then
    log.warn("session not kept", {
      user_id = user_id, kind = why.kind, error = why.detail,
    })
    return id
  end
  return id, written(id, family, secret)
end

--- Whether the session that the claims name has not ended. A service has none. While
--- Redis is away nobody can tell, and what the token says counts.
---@param claims claims
---@return boolean
function sessions.live(claims)
  if claims.role == "service" then
    return true
  elseif type(claims.sid) ~= "string" then
    return false
  end
  local user, why = cache.command("HGET", cache.key("session:" .. claims.sid), "user")
  if why then
    log.warn("session not checked", {
      user_id = claims.sub, kind = why.kind, error = why.detail,
    })
    return true
  end
  return user == claims.sub
end

--- Whose session a refresh token names, before anything of it is proved: nil when there
--- is none. Raises while Redis is away.
---@return string? user_id
function sessions.user_of(token)
  local id = read(token)
  if not id then
    return nil
  end
  local user, why = cache.command("HGET", cache.key("session:" .. id), "user")
  if why then
    fault.raise("unavailable", "sessions cannot be read now: " .. why.detail)
  end
  return user
end

--- Takes a refresh token for a new one, once: {id, refresh_token}, or nil, why (denied;
--- unavailable while Redis is away).
---@return {id: string, refresh_token: string}? session
---@return fault? why
function sessions.rotate(token, user_id)
  local id, family, secret = read(token)
  local new = random.hex(32)
  local outcome, why = run("rotate", user_id, id, crypto.fingerprint(family),
    crypto.fingerprint(secret), ttl_s, crypto.fingerprint(new))
  if why then
    return nil, why
  elseif outcome == "rotated" then
    return { id = id, refresh_token = written(id, family, new) }
  elseif outcome == "used" then
    log.warn("refresh token used twice, session revoked", { user_id = user_id })
  end
  return nil, fault.new("denied", "the refresh token is not valid")
end

--- Ends a session: how many there were of it, or nil, why.
---@return integer? count
---@return fault? why
function sessions.close(user_id, id)
  return run("close", user_id, id)
end

--- Ends all sessions of a user: how many there were, or nil, why.
---@return integer? count
---@return fault? why
function sessions.close_all(user_id)
  return run("close_all", user_id, "")
end

--- Takes ended sessions out of the sets: how many, or nil, why.
---@return integer? count
---@return fault? why
function sessions.sweep()
  local count = 0
  for _ = 1, 200 do
    local taken, why = run("sweep", "", "")
    if not taken then
      return nil, why
    end
    count = count + taken
    if taken == 0 then
      break
    end
  end
  return count
end

--- How many sessions have not ended; nil while Redis is away.
---@return integer? count
function sessions.count()
  local now = math.floor(clock.now())
  return (cache.command("ZCOUNT", cache.key("sessions"), ("(%.0f"):format(now), "+inf"))
end

return sessions
