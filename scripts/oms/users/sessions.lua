-- Sessions in Redis: one key each that expires by itself, and a sorted set to count them
-- by. A session is a courtesy: tokens are valid without it, and Redis may be down.
local cache = require "cache"
local clock = require "clock"
local log = require "log"

local sessions = {}

local index = "sessions"

--- Remembers that a user logged in.
function sessions.open(id, user_id, ttl_s)
  local _, why = cache.command("SET", cache.key("session:" .. id), user_id, "EX", ttl_s)
  if not why then
    _, why = cache.command("ZADD", cache.key(index), math.floor(clock.now()) + ttl_s, id)
  end
  if why then
    log.warn("session not kept", {
      user_id = user_id, kind = why.kind, error = why.detail,
    })
  end
end

--- How many sessions have not expired; nil while Redis is away.
function sessions.count()
  local key = cache.key(index)
  local _, why = cache.command("ZREMRANGEBYSCORE", key, "-inf", math.floor(clock.now()))
  if why then
    return nil
  end
  return (cache.command("ZCARD", key))
end

return sessions
