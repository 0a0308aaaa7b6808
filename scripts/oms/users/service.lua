-- Users: registers people, lets them in with a password, and says who a token belongs to.
local app = require "app"
local fault = require "fault"
local jwt = require "jwt"
local metrics = require "metrics"
local password = require "password"
local random = require "random"
local sessions = require "sessions"
local shape = require "shape"
local store = require "store"

local users = app.service "users"

local registered = metrics.counter("users_registered_total", "Users who registered.")
local logins = metrics.counter("login_attempts_total",
  "Attempts to log in, by outcome.", { "status" })
local issued = metrics.counter("jwt_tokens_issued_total", "Tokens issued.")
local validations = metrics.counter("auth_validations_total",
  "Tokens checked for another service or a client, by outcome.", { "status" })
local active = metrics.gauge("active_sessions_current", "Sessions that have not expired.")
logins:zero("success")
logins:zero("failure")
validations:zero("valid")
validations:zero("invalid")

local token_ttl_s = 3600

-- The hash of a password nobody has: an unknown address costs as much time as a wrong
-- password.
local nobody = "$argon2id$v=19$m=19456,t=2,p=1$SjXvCH2b4XPBEYahqJU0jw"
  .. "$WBqJA28WtIj9z2nbK8M7Io+bKepKtDXYelyewWfue3c"

local registration = shape.object {
  email = shape.email,
  password = shape.text(8, 128),
  name = shape.optional(shape.text(0, 100), ""),
}

local credentials = shape.object {
  email = shape.text(1, 254),
  password = shape.text(1, 128),
}

users:post("/api/v1/users/register", { body = registration }, function(req)
  local user, why = store.add {
    id = random.uuid(),
    email = req.body.email,
    name = req.body.name,
    password_hash = password.hash(req.body.password),
  }
  if not user then
    return fault.new(why.kind, "this e-mail address is taken")
  end
  registered:inc()
  return 201, user
end)

users:post("/api/v1/users/login", { body = credentials }, function(req)
  local user = store.credentials(req.body.email)
  local right = password.verify(user and user.password_hash or nobody, req.body.password)
  if not user or not right then
    logins:inc("failure")
    return fault.new("denied", "the e-mail address or the password is wrong")
  end
  local session = random.uuid()
  local token = jwt.sign({
    sub = user.id, email = user.email, role = user.role, jti = session,
  }, token_ttl_s)
  sessions.open(session, user.id, token_ttl_s)
  logins:inc("success")
  issued:inc()
  return 200, {
    access_token = token,
    token_type = "Bearer",
    expires_in = token_ttl_s,
    user = { id = user.id, email = user.email, name = user.name, role = user.role },
  }
end)

-- The check is the business of this route, so it counts what the others leave to `auth`.
users:get("/api/v1/users/me", function(req)
  local claims, why = jwt.of_request(req)
  local user = claims and store.find(claims.sub)
  validations:inc(user and "valid" or "invalid")
  if not user then
    return why or fault.new("denied", "the token's user is gone")
  end
  return 200, user
end)

users:every("sessions", 5, function()
  local count = sessions.count()
  if count then
    active:set(count)
  end
end)

return users
