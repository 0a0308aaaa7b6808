-- Getting in and staying in: from a password, or a refresh token, to an access token.
local conf = require "conf"
local fault = require "fault"
local jwt = require "jwt"
local password = require "password"
local sessions = require "sessions"
local store = require "store"
local throttle = require "throttle"

local flow = {}

local access_ttl_s = conf.option("access_ttl_s", 900)

-- The hash of a password nobody has: an unknown address costs as much time as a wrong
-- password.
local nobody = "$argon2id$v=19$m=19456,t=2,p=1$SjXvCH2b4XPBEYahqJU0jw"
  .. "$WBqJA28WtIj9z2nbK8M7Io+bKepKtDXYelyewWfue3c"

local function tokens(user, session_id, refresh_token)
  return {
    user = user,
    access_token = jwt.sign({
      sub = user.id, email = user.email, role = user.role, sid = session_id,
    }, access_ttl_s),
    expires_in = access_ttl_s,
    refresh_token = refresh_token,
  }
end

local function disabled()
  return fault.new("denied", "this account is disabled")
end

-- Looks at the limit before the hash, which is the work, and after it, which decides.
local function check(user, address, text, peer)
  local wait, right = throttle.wait(address, peer), false
  if wait == 0 then
    right = password.verify(user and user.password_hash or nobody, text) and user ~= nil
    wait = throttle.settle(address, peer, right)
  end
  if wait > 0 then
    return fault.new("limit", "too many failed logins: wait", {
      headers = { ["Retry-After"] = ("%.0f"):format(wait) },
    })
  elseif not right then
    return fault.new("denied", "the e-mail address or the password is wrong")
  elseif user.status ~= "active" then
    return disabled()
  end
end

-- Rights are read when the session is there: who takes them away writes that down first
-- and ends all sessions then. So either they are gone here, or the session ends.
local function enter(user_id)
  local session_id, refresh_token = sessions.open(user_id)
  local user = store.find(user_id)
  if not user or user.status ~= "active" then
    sessions.close(user_id, session_id)
    return nil, disabled()
  end
  return tokens(user, session_id, refresh_token)
end

--- Tokens for a password: {user, access_token, expires_in, refresh_token?}, or nil, why
--- (denied or limit).
---@param address string
---@param text string the password
---@param peer string the client's address
---@return table? tokens
---@return fault? why
function flow.login(address, text, peer)
  local user = store.credentials(address)
  -- Counted as it is stored, so that no spelling of an address has a count of its own.
  local why = check(user, user and user.email or address, text, peer)
  if why then
    return nil, why
  end
  return enter(user.id)
end

--- New tokens for a refresh token, with the rights the user has now; or nil, why. The
--- token is spent last, so that a failure before it costs nothing.
---@return table? tokens
---@return fault? why
function flow.refresh(token)
  local user_id = sessions.user_of(token)
  local user = user_id and store.find(user_id)
  if not user or user.status ~= "active" then
    return nil, fault.new("denied", "the refresh token is not valid")
  end
  local session, why = sessions.rotate(token, user_id)
  if not session then
    return nil, why
  end
  return tokens(user, session.id, session.refresh_token)
end

return flow
