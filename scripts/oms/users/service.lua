-- Users: registers people, lets them in with a password, and says who a token belongs to.
local app = require "app"
local fault = require "fault"
local flow = require "flow"
local jwt = require "jwt"
local leader = require "leader"
local log = require "log"
local metrics = require "metrics"
local page = require "page"
local password = require "password"
local random = require "random"
local sessions = require "sessions"
local shape = require "shape"
local store = require "store"
local version = require "version"

local users = app.service("users", { auth = "bearer" })

local registered = metrics.counter("users_registered_total", "Users who registered.")
local logins = metrics.counter("login_attempts_total",
  "Attempts to log in, by outcome.", { "status" })
local issued = metrics.counter("jwt_tokens_issued_total", "Access tokens given to users.")
local validations = metrics.counter("auth_validations_total",
  "Tokens that came with a request, by whether they and their session hold.",
  { "status" })
local active = metrics.gauge("active_sessions_current",
  "Sessions that have not ended, of all replicas.")
for _, status in ipairs { "success", "failure", "throttled" } do
  logins:zero(status)
end
validations:zero("valid")
validations:zero("invalid")

-- Those whom `auth` turns away; the others are counted by their session.
jwt.on_refused(function()
  validations:inc("invalid")
end)

local people = { "customer", "operator", "admin" }
local staff = { operator = true, admin = true, service = true }

local role = shape.one_of(people)
local status = shape.one_of { "active", "disabled" }
local name = shape.example(shape.text(0, 100), "Ada Lovelace")
local phone = shape.example(shape.text(0, 32, "^%+?[%d ()%-]*$",
  "a telephone number of up to 32 characters", "^\\+?[0-9 ()-]*$"), "+44 20 7946 0000")
local email = shape.example(shape.email, "ada@orrery.test")
local secret = shape.example(shape.text(8, 128), "a long password")
local by_id = shape.object { id = shape.uuid }

local registration = shape.object {
  email = email,
  password = secret,
  name = shape.optional(name, ""),
  phone = shape.optional(phone, ""),
}

local credentials = shape.object {
  email = shape.example(shape.text(1, 254), "demo@orrery.test"),
  password = shape.example(shape.text(1, 128), "demo-password"),
}

local refreshing = shape.object { refresh_token = shape.text(1, 200) }

local change = shape.object {
  version = version.body,
  name = shape.optional(name),
  phone = shape.optional(phone),
  role = shape.optional(role),
  status = shape.optional(status),
}

local listed = page.query {
  role = shape.optional(role),
  status = shape.optional(status),
  q = shape.optional(shape.text(1, 100)),
}

local user_shape = shape.object {
  id = shape.uuid,
  email = shape.email,
  name = name,
  phone = phone,
  role = role,
  status = status,
  version = shape.integer(1, 2 ^ 31),
  created_at = shape.time,
  updated_at = shape.time,
}

local tokens_shape = shape.object {
  access_token = shape.text(1, 4096),
  token_type = shape.one_of { "Bearer" },
  expires_in = shape.integer(1, 2 ^ 31),
  refresh_token = shape.optional(shape.text(1, 200)), -- absent while Redis is away
  user = user_shape,
}

-- What the outside sees of a user.
local function view(row)
  return {
    id = row.id, email = row.email, name = row.name, phone = row.phone, role = row.role,
    status = row.status, version = row.version,
    created_at = row.created_at, updated_at = row.updated_at,
  }
end

-- Nobody on the way may keep tokens.
local function tokens_answer(tokens)
  issued:inc()
  return 200, {
    access_token = tokens.access_token,
    token_type = "Bearer",
    expires_in = tokens.expires_in,
    refresh_token = tokens.refresh_token,
    user = view(tokens.user),
  }, { ["Cache-Control"] = "no-store" }
end

local function turned_away(detail)
  validations:inc("invalid")
  return fault.new("denied", detail, { headers = { ["WWW-Authenticate"] = "Bearer" } })
end

-- A token holds as long as its session: nothing to say, or why not.
local function session_over(req)
  if not sessions.live(req.user) then
    return turned_away("the session has ended")
  end
  validations:inc("valid")
end

local function no_user()
  return fault.new("missing", "there is no such user")
end

users:post("/api/v1/users/register", {
  summary = "Registers a customer", auth = false,
  body = registration, answers = { [201] = user_shape }, faults = { 409 },
}, function(req)
  local user, why = store.add {
    id = random.uuid(),
    email = req.body.email,
    name = req.body.name,
    phone = req.body.phone,
    password_hash = password.hash(req.body.password),
  }
  if not user then
    return fault.new(why.kind, "this e-mail address is taken")
  end
  registered:inc()
  local location = { Location = "/api/v1/users/" .. user.id }
  return 201, view(user), version.headers(user, location)
end)

users:post("/api/v1/users/login", {
  summary = "Gives an access token and a refresh token for a password", auth = false,
  body = credentials, answers = { [200] = tokens_shape }, faults = { 401, 429 },
}, function(req)
  local tokens, why = flow.login(req.body.email, req.body.password, req.peer)
  if not tokens then
    logins:inc(why.kind == "limit" and "throttled" or "failure")
    return why
  end
  logins:inc("success")
  return tokens_answer(tokens)
end)

users:post("/api/v1/users/refresh", {
  summary = "Takes a refresh token, which is good for once, for new tokens", auth = false,
  body = refreshing, answers = { [200] = tokens_shape }, faults = { 401 },
}, function(req)
  local tokens, why = flow.refresh(req.body.refresh_token)
  if not tokens then
    return why
  end
  return tokens_answer(tokens)
end)

users:post("/api/v1/users/logout", {
  summary = "Ends the session of the token", answers = { [204] = false },
}, function(req)
  if req.user.role == "service" then
    return turned_away("a service has no session")
  end
  local over = session_over(req)
  if over then
    return over
  end
  local _, why = sessions.close(req.user.sub, req.user.sid)
  if why then
    return why
  end
  return 204
end)

-- The database is asked, so that a user who is disabled or gone is noticed at once.
users:get("/api/v1/users/me", {
  summary = "Says who the token belongs to", answers = { [200] = user_shape },
  faults = { 304 },
}, function(req)
  local user = sessions.live(req.user) and store.find(req.user.sub)
  if not user or user.status ~= "active" then
    return turned_away("the session has ended, or the user is disabled or gone")
  end
  validations:inc("valid")
  if version.fresh(req, user) then
    return 304, nil, version.headers(user)
  end
  return 200, view(user), version.headers(user)
end)

users:get("/api/v1/users/:id", {
  summary = "Shows a user, to himself and to staff", path = by_id,
  answers = { [200] = user_shape }, faults = { 304, 404 },
}, function(req)
  local over = session_over(req)
  if over then
    return over
  end
  local visible = staff[req.user.role] or req.path.id == req.user.sub
  local user = visible and store.find(req.path.id)
  if not user then
    return no_user()
  elseif version.fresh(req, user) then
    return 304, nil, version.headers(user)
  end
  return 200, view(user), version.headers(user)
end)

-- Whoever got other rights logs in again. The database has them already when Redis is
-- away: logging in, refreshing and `me` ask it.
local function revoke(user)
  local _, why = sessions.close_all(user.id)
  if why then
    log.warn("sessions not revoked", {
      user_id = user.id, kind = why.kind, error = why.detail,
    })
  end
end

-- Whether the caller may change that much of that user: nothing to say, or why not.
local function not_his(req)
  if req.user.role == "admin" then
    return nil
  elseif req.path.id ~= req.user.sub then
    return no_user()
  elseif req.body.role or req.body.status then
    return fault.new("denied", "role and status are for administrators", { status = 403 })
  end
end

users:put("/api/v1/users/:id", {
  summary = "Changes a profile; administrators also role and status", auth = people,
  path = by_id, body = change, answers = { [200] = user_shape },
  faults = { 404, 409, 412 },
}, function(req)
  local why = session_over(req) or not_his(req)
  if why then
    return why
  end
  local seen, done
  seen, why = version.expected(req)
  if not seen then
    return why
  end
  done, why = store.change(req.path.id, seen, req.body, req.user.sub)
  if not done then
    return why or store.find(req.path.id) and version.lost(req) or no_user()
  end
  if done.rights_changed then
    revoke(done.row)
  end
  return 200, view(done.row), version.headers(done.row)
end)

users:get("/api/v1/users", {
  summary = "Lists users, the newest first", auth = { "admin" }, query = listed,
  answers = { [200] = page.of(user_shape) },
}, function(req)
  local over = session_over(req)
  if over then
    return over
  end
  local query = req.query
  local rows = store.list(page.before(req), query.role, query.status, query.q,
    query.limit)
  return 200, page.answer(rows, req, view)
end)

users:delete("/api/v1/users/:id/sessions", {
  summary = "Ends all sessions of a user", auth = people, path = by_id,
  answers = { [204] = false }, faults = { 404 },
}, function(req)
  local over = session_over(req)
  if over then
    return over
  end
  local id, is_admin = req.path.id, req.user.role == "admin"
  if id ~= req.user.sub and not (is_admin and store.find(id)) then
    return no_user()
  end
  local _, why = sessions.close_all(id)
  if why then
    return why
  end
  return 204
end)

-- Redis knows them all, so every replica tells the same number.
users:every("sessions", 5, function()
  local count = sessions.count()
  if count then
    active:set(count)
  end
end)

leader.every(users, "session_sweep", 60, function()
  local _, why = sessions.sweep()
  if why then
    fault.raise(why.kind, why.detail)
  end
end)

return users
