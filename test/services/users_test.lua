-- Users: who gets in, who stays in, who may see and change whom, and what a refusal gives
-- away. What Redis does with its scripts is tested with a real one, in
-- test/system/sessions_test.py.
local fault = require "fault"
local test = require "test"
local users = test.service "oms/users"

local cache = require "cache"
local jwt = require "jwt"
local password = require "password"
local sessions = require "sessions"
local store = require "store"
local throttle = require "throttle"

local function person(number, role, changes)
  local row = {
    id = "00000000-0000-4000-8000-00000000000" .. number, email = role .. "@orrery.test",
    name = role, phone = "", role = role, status = "active", version = 3, seq = number,
    created_at = "2026-11-20T11:00:00.5Z", updated_at = "2026-11-20T11:00:00.5Z",
    password_hash = "hash of right",
  }
  for name, value in pairs(changes or {}) do
    row[name] = value
  end
  return row
end

local away = fault.new("unavailable", "Redis is away")
local service_id = "00000000-0000-4000-8000-00000000000a"

-- Four people, sessions in a table instead of Redis, and nobody who counts guesses.
local function world()
  local w = {
    rows = {
      person(1, "customer"), person(2, "admin"), person(3, "operator"),
      person(4, "other", { role = "customer" }),
    },
    sessions = {}, closed = {}, checked = {}, redis = true,
  }
  w.customer, w.admin, w.operator, w.other = unpack(w.rows)

  function w.token(row)
    local id = ("%d"):format(#w.sessions + 1)
    w.sessions[#w.sessions + 1] = row.id
    return { sub = row.id, role = row.role, sid = id }
  end

  test.replace(cache, "key", function(key) return "users:" .. key end)
  test.replace(cache, "command", function(name, key)
    if not w.redis then
      return nil, away
    elseif name == "HGET" then
      return w.sessions[tonumber(key:match("^users:session:(%d+)$"))]
    end
    return 0
  end)
  test.replace(sessions, "close", function(user_id, id)
    table.insert(w.closed, user_id .. "/" .. id)
    return w.redis and 1 or nil, not w.redis and away or nil
  end)
  test.replace(sessions, "close_all", function(user_id)
    table.insert(w.closed, user_id)
    return w.redis and 1 or nil, not w.redis and away or nil
  end)
  test.replace(password, "hash", function(text) return "hash of " .. text end)
  test.replace(password, "verify", function(encoded, text)
    table.insert(w.checked, encoded)
    return encoded == "hash of " .. text
  end)
  test.replace(store, "credentials", function(email)
    for _, row in ipairs(w.rows) do
      if row.email:lower() == email:lower() then
        return row
      end
    end
  end)
  test.replace(store, "find", function(id)
    for _, row in ipairs(w.rows) do
      if row.id == id then
        return row
      end
    end
  end)
  return w
end

local function call(line, options)
  return test.call(users, line, options)
end

local function login(email, text)
  return call("POST /api/v1/users/login", { body = { email = email, password = text } })
end

local function bearer(token)
  return { headers = { authorization = "Bearer " .. token } }
end

local function counted(name, labels)
  return test.value(name, labels) or 0
end

local function path(row, rest)
  return "/api/v1/users/" .. row.id .. (rest or "")
end

-- --- passwords -----------------------------------------------------------------------

test.case("the right password gives a token, for minutes, that me accepts", function()
  local w = world()
  test.replace(sessions, "open", function(user_id)
    w.sessions[1] = user_id
    return "1", "a refresh token"
  end)
  local answer = login("customer@orrery.test", "right")
  test.equal(answer.status, 200)
  local body = answer.body
  test.equal({ body.token_type, body.expires_in, body.refresh_token },
    { "Bearer", 900, "a refresh token" })
  test.equal(answer.headers["Cache-Control"], "no-store")
  test.equal(answer.body.user.password_hash, nil)
  local me = call("GET /api/v1/users/me", bearer(answer.body.access_token))
  test.equal({ me.status, me.body.email }, { 200, "customer@orrery.test" })
end)

test.case("a wrong password and an unknown address look and cost the same", function()
  local w = world()
  local wrong, unknown = login("customer@orrery.test", "x"), login("no@orrery.test", "x")
  test.equal(wrong.status, 401)
  test.equal({ wrong.status, wrong.body.detail }, { unknown.status, unknown.body.detail })
  test.equal(#w.checked, 2)
  test.match(w.checked[2], "^%$argon2id%$")
end)

test.case("an unknown address does not get in by whatever password", function()
  world()
  test.replace(password, "verify", function() return true end)
  test.equal(login("no@orrery.test", "x").status, 401)
end)

test.case("a disabled user does not get in, and only he learns why", function()
  local w = world()
  w.customer.status = "disabled"
  local right, wrong = login(w.customer.email, "right"), login(w.customer.email, "wrong")
  test.equal({ right.status, wrong.status }, { 401, 401 })
  test.match(right.body.detail, "disabled")
  test.match(wrong.body.detail, "wrong")
end)

-- A login during which something happens to the user, after his password was checked and
-- before his session was there: all his sessions were ended before it.
local function login_while(w, happens)
  test.replace(sessions, "open", function(user_id)
    happens(w)
    w.sessions[1] = user_id
    return "1", "a refresh token"
  end)
  return login("admin@orrery.test", "right")
end

test.case("rights that are taken away during a login are not in its token", function()
  local w = world()
  local answer = login_while(w, function()
    w.rows[2] = person(2, "admin", { role = "customer" })
  end)
  test.equal({ answer.status, answer.body.user.role }, { 200, "customer" })
  test.equal(jwt.verify(answer.body.access_token).role, "customer")
end)

test.case("who is disabled during his login does not get in", function()
  local w = world()
  local answer = login_while(w, function()
    w.rows[2] = person(2, "admin", { status = "disabled" })
  end)
  test.equal({ answer.status, answer.body.access_token }, { 401, nil })
  test.equal(w.closed, { w.admin.id .. "/1" })
end)

test.case("logins are counted by how they ended, and tokens that are given", function()
  world()
  local function counts()
    return { counted("login_attempts_total", { "success" }),
      counted("login_attempts_total", { "failure" }),
      counted("login_attempts_total", { "throttled" }),
      counted("jwt_tokens_issued_total") }
  end
  local before = counts()
  login("customer@orrery.test", "right")
  login("customer@orrery.test", "wrong")
  login("nobody@orrery.test", "wrong")
  test.replace(throttle, "wait", function() return 7 end)
  login("customer@orrery.test", "right")
  test.equal(counts(), { before[1] + 1, before[2] + 2, before[3] + 1, before[4] + 1 })
end)

test.case("nothing that is logged has the password", function()
  local w = world()
  w.redis = false
  login("customer@orrery.test", "right")
  test.equal(#test.logs(), 3)
  for _, line in ipairs(test.logs()) do
    for _, value in pairs(line.attributes) do
      test.equal(tostring(value):find("right", 1, true), nil)
    end
  end
end)

test.case("without Redis people still get in, with a token that holds", function()
  local w = world()
  w.redis = false
  local answer = login("customer@orrery.test", "right")
  test.equal({ answer.status, answer.body.refresh_token }, { 200, nil })
  test.equal(call("GET /api/v1/users/me", bearer(answer.body.access_token)).status, 200)
  w.redis = true
  test.equal(call("GET /api/v1/users/me", bearer(answer.body.access_token)).status, 401,
    "there is no such session")
end)

-- --- guessing ------------------------------------------------------------------------

test.case("who has to wait is told how long, and no hash is computed", function()
  local w = world()
  test.replace(throttle, "wait", function() return 42 end)
  local answer = login("customer@orrery.test", "right")
  test.equal({ answer.status, answer.body.kind }, { 429, "limit" })
  test.equal(answer.headers["Retry-After"], "42")
  test.equal(#w.checked, 0)
end)

test.case("a guess that came too late learns nothing, right or wrong", function()
  world()
  test.replace(throttle, "settle", function() return 9 end)
  local right, wrong = login("customer@orrery.test", "right"),
    login("customer@orrery.test", "wrong")
  test.equal({ right.status, wrong.status }, { 429, 429 })
  test.equal(right.body.detail, wrong.body.detail)
  test.equal(right.body.access_token, nil)
end)

-- A Redis that tells what is counted: the address, the client, and what of it.
local function counting(tell)
  return function(name, _, count, ...)
    local words = { ... }
    local verb, window, limit, client_limit = unpack(words, count + 1)
    if name == "EVAL" and (verb == "look" or verb == "wrong" or verb == "right") then
      tell(words[1], count == 2 and words[2] or nil, verb)
      test.equal({ window, limit, client_limit }, { 300, 10, 1000 })
    end
    return 0
  end
end

test.case("every spelling of an address is counted as one", function()
  world()
  local keys = {}
  test.replace(cache, "command", counting(function(key)
    keys[#keys + 1] = key
  end))
  login("customer@orrery.test", "wrong")
  login("CUSTOMER@Orrery.Test", "right")
  login("nobody@orrery.test", "wrong")
  login("NoBody@orrery.test", "wrong")
  test.equal(#keys, 8)
  test.equal({ keys[2], keys[3], keys[4] }, { keys[1], keys[1], keys[1] })
  test.equal({ keys[6], keys[7], keys[8] }, { keys[5], keys[5], keys[5] })
  test.equal(keys[1] == keys[5], false)
  test.equal(keys[1]:find("orrery", 1, true), nil, "the address itself is not kept")
end)

-- The key under which a client is counted, nil when he is not.
local function client_key(peer)
  local found
  test.replace(cache, "command", counting(function(_, client) found = client end))
  throttle.wait("customer@orrery.test", peer)
  return found
end

test.case("a client is counted whatever the account, and whatever the outcome", function()
  world()
  local told = {}
  test.replace(cache, "command", counting(function(address, client, verb)
    told[#told + 1] = { address = address, client = client, verb = verb }
  end))
  login("customer@orrery.test", "wrong")
  login("nobody@orrery.test", "wrong")
  login("customer@orrery.test", "right")
  local verbs = {}
  for i, each in ipairs(told) do
    verbs[i] = each.verb
    test.equal(each.client, client_key "127.0.0.1")
    test.equal(each.client == each.address, false)
  end
  test.equal(verbs, { "look", "wrong", "look", "wrong", "look", "right" })
end)

test.case("of IPv6 a client has a /64; one not known is not counted", function()
  local home = client_key "2001:db8:1:2::7"
  for _, peer in ipairs {
    "2001:db8:1:2::", "2001:db8:1:2:a:b:c:d", "2001:DB8:1:2:0:1::", "2001:db8:1:2::%eth0",
  } do
    test.equal(client_key(peer), home, peer)
  end
  for _, peer in ipairs {
    "2001:db8:1:3::7", "2001:db8:1::7", "::2001:db8:1:2", "192.0.2.7",
  } do
    test.equal(client_key(peer) == home, false, peer)
  end
  test.equal(client_key "::1:2:3:4:5:6", client_key "0:0:1:2::")
  test.equal(client_key "2001:db8::1", client_key "2001:db8:0:0:7::")
  test.equal(client_key "192.0.2.7" == client_key "192.0.2.8", false)
  test.equal(client_key "192.0.2.7":find("192.0", 1, true), nil, "it is not kept itself")
  test.equal(client_key "", nil)
end)

test.case("how an attempt went is counted after it", function()
  world()
  local said = {}
  test.replace(throttle, "settle", function(address, peer, right)
    test.equal(peer, "127.0.0.1")
    said[#said + 1] = address .. (right and " right" or " wrong")
    return 0
  end)
  login("customer@orrery.test", "right")
  login("customer@orrery.test", "x")
  login("nobody@orrery.test", "x")
  test.equal(said, { "customer@orrery.test right", "customer@orrery.test wrong",
    "nobody@orrery.test wrong" })
end)

-- --- tokens and sessions -------------------------------------------------------------

test.case("me refuses no token, a bad one, and one whose session has ended", function()
  local w = world()
  test.equal(call("GET /api/v1/users/me").status, 401)
  test.equal(call("GET /api/v1/users/me", bearer("x.y.z")).status, 401)
  local token = w.token(w.customer)
  test.equal(call("GET /api/v1/users/me", { user = token }).status, 200)
  w.sessions[1] = nil
  local answer = call("GET /api/v1/users/me", { user = token })
  test.equal(answer.status, 401)
  test.equal(answer.headers["WWW-Authenticate"], "Bearer")
end)

test.case("a session opens nothing for another user, nor does a token without", function()
  local w = world()
  local token = w.token(w.customer)
  token.sub = w.admin.id
  test.equal(call("GET /api/v1/users/me", { user = token }).status, 401)
  test.equal(call("GET /api/v1/users/me", {
    user = { sub = w.customer.id, role = "customer" },
  }).status, 401)
end)

test.case("me refuses users who are disabled or gone, and services", function()
  local w = world()
  local token = w.token(w.customer)
  w.customer.status = "disabled"
  test.equal(call("GET /api/v1/users/me", { user = token }).status, 401)
  w.customer.status, w.customer.id = "active", "another"
  test.equal(call("GET /api/v1/users/me", { user = token }).status, 401)
  test.equal(call("GET /api/v1/users/me", {
    user = { sub = service_id, role = "service" },
  }).status, 401)
end)

test.case("every route that takes a token asks for its session", function()
  local w = world()
  local over = { sub = w.admin.id, role = "admin", sid = "77" }
  for _, line in ipairs {
    "POST /api/v1/users/logout", "GET /api/v1/users/me", "GET " .. path(w.admin),
    "GET /api/v1/users", "DELETE " .. path(w.admin, "/sessions"),
  } do
    test.equal(call(line, { user = over }).status, 401, line)
  end
  test.equal(call("PUT " .. path(w.admin), {
    user = over, body = { version = 3, name = "Eve" },
  }).status, 401)
end)

test.case("without Redis the signature alone counts, and that is logged", function()
  local w = world()
  w.redis = false
  local token = { sub = w.customer.id, role = "customer", sid = "77" }
  test.equal(call("GET " .. path(w.customer), { user = token }).status, 200)
  test.equal(test.logs()[1].message, "session not checked")
end)

test.case("tokens are counted by whether they hold", function()
  local w = world()
  local function counts()
    return { counted("auth_validations_total", { "valid" }),
      counted("auth_validations_total", { "invalid" }) }
  end
  local before = counts()
  call("GET /api/v1/users/me", { user = w.token(w.customer) })
  call("GET " .. path(w.customer), { user = w.token(w.customer) })
  call("GET /api/v1/users/me", { user = { sub = w.customer.id, sid = "77" } })
  call("GET /api/v1/users/me", bearer("x.y.z"))
  call("GET /api/v1/users")
  test.equal(counts(), { before[1] + 2, before[2] + 3 })
end)

test.case("logging out ends the session of the token", function()
  local w = world()
  local function logout(token)
    return call("POST /api/v1/users/logout", { user = token }).status
  end
  test.equal(logout(w.token(w.customer)), 204)
  test.equal(w.closed, { w.customer.id .. "/1" })
  test.equal(logout { sub = service_id, role = "service" }, 401)
  test.equal(#w.closed, 1)
end)

test.case("nobody is told that a session has ended when Redis is away", function()
  local w = world()
  local token = w.token(w.customer)
  w.redis = false
  for _, line in ipairs {
    "POST /api/v1/users/logout", "DELETE " .. path(w.customer, "/sessions"),
  } do
    test.equal(call(line, { user = token }).status, 503, line)
  end
end)

test.case("a refresh token gives new tokens, with the rights of today", function()
  local w = world()
  test.replace(sessions, "user_of", function() return w.operator.id end)
  test.replace(sessions, "rotate", function(token, user_id)
    test.equal({ token, user_id }, { "old", w.operator.id })
    w.sessions[5] = user_id
    return { id = "5", refresh_token = "new" }
  end)
  w.operator.role = "admin" -- meanwhile
  local answer = call("POST /api/v1/users/refresh", { body = { refresh_token = "old" } })
  test.equal({ answer.status, answer.body.refresh_token }, { 200, "new" })
  test.replace(store, "list", function() return {} end)
  test.equal(call("GET /api/v1/users", bearer(answer.body.access_token)).status, 200)
end)

test.case("a refresh token that is unknown, used or of a disabled user is not", function()
  local w = world()
  local function refresh(token)
    return call("POST /api/v1/users/refresh", { body = { refresh_token = token } }).status
  end
  test.equal(refresh("nonsense"), 401)
  test.equal(refresh("00000000-0000-4000-8000-000000000009.ab.cd"), 401)
  test.replace(sessions, "user_of", function() return w.customer.id end)
  test.replace(sessions, "rotate", function()
    return nil, fault.new("denied", "the refresh token is not valid")
  end)
  test.equal(refresh("used"), 401)
  w.customer.status = "disabled"
  test.replace(sessions, "rotate", function() error "must not be spent" end)
  test.equal(refresh("of a disabled user"), 401)
end)

test.case("a refresh without Redis is for later, and spends nothing", function()
  local w = world()
  w.redis = false
  local answer = call("POST /api/v1/users/refresh", {
    body = { refresh_token = "00000000-0000-4000-8000-000000000009.ab.cd" },
  })
  test.equal({ answer.status, answer.body.kind }, { 503, "unavailable" })
end)

test.case("a refresh token that was used is logged, an unknown one is not", function()
  world()
  local token = "00000000-0000-4000-8000-000000000009.ab.cd"
  local outcome, problem = "unknown", nil
  test.replace(cache, "command", function() return outcome, problem end)
  local function rotate() return sessions.rotate(token, "u") end
  test.fails(rotate, "denied")
  test.equal(test.logs(), {})
  outcome = "used"
  test.fails(rotate, "denied")
  test.match(test.logs()[1].message, "used twice")
  outcome, problem = nil, away
  test.fails(rotate, "unavailable")
  outcome, problem = "rotated", nil
  local new = rotate()
  test.match(new.refresh_token, "^" .. new.id:gsub("%-", "%%-") .. "%.ab%.%x+$")
  test.equal(new.refresh_token == token, false)
end)

test.case("of a refresh token only digests go to Redis", function()
  world()
  local words
  test.replace(cache, "command", function(...)
    words = { ... }
    return 1
  end)
  local id, token = sessions.open("u")
  local family, secret = token:match("^" .. id:gsub("%-", "%%-") .. "%.(%x+)%.(%x+)$")
  test.equal({ #family, #secret }, { 32, 64 })
  for i = 1, #words do
    test.equal(tostring(words[i]):find(secret, 1, true), nil)
    test.equal(tostring(words[i]):find(family, 1, true), nil)
  end
end)

-- --- registering ---------------------------------------------------------------------

local function register(body)
  return call("POST /api/v1/users/register", { body = body })
end

test.case("registering keeps a hash and never the password", function()
  world()
  local kept
  test.replace(store, "add", function(user)
    kept = user
    return person(5, "customer", { id = user.id, email = user.email, phone = user.phone })
  end)
  local before = counted("users_registered_total")
  local answer = register { email = "new@orrery.test", password = "long enough",
    phone = "+1 (555) 0100" }
  test.equal({ answer.status, answer.body.role }, { 201, "customer" })
  test.equal(answer.headers.Location, "/api/v1/users/" .. answer.body.id)
  test.equal({ kept.password_hash, kept.password, kept.phone },
    { "hash of long enough", nil, "+1 (555) 0100" })
  test.equal(answer.body.password_hash, nil)
  test.equal(counted("users_registered_total"), before + 1)
end)

test.case("an address that is taken is refused", function()
  world()
  test.replace(store, "add", function() return nil, fault.new("refused", "duplicate") end)
  test.equal(register { email = "a@b.test", password = "long enough" }.status, 409)
end)

test.case("short passwords, bad addresses and roles of one's choice are named", function()
  world()
  local answer = register { email = "nonsense", password = "short", role = "admin",
    phone = "call me" }
  test.equal(answer.status, 422)
  local fields = {}
  for i, problem in ipairs(answer.body.errors) do
    fields[i] = problem.field
  end
  test.equal(fields, { "email", "password", "phone", "role" })
end)

-- --- who may see whom ----------------------------------------------------------------

test.case("a customer sees himself, and of others not even whether they exist", function()
  local w = world()
  local token = w.token(w.customer)
  test.equal(call("GET " .. path(w.customer), { user = token }).status, 200)
  local other, nobody = call("GET " .. path(w.other), { user = token }),
    call("GET " .. path { id = service_id }, { user = token })
  test.equal({ other.status, other.body.detail }, { 404, nobody.body.detail })
end)

test.case("staff and services see everybody", function()
  local w = world()
  for _, token in ipairs { w.token(w.operator), w.token(w.admin),
    { sub = service_id, role = "service" } } do
    local answer = call("GET " .. path(w.other), { user = token })
    test.equal({ answer.status, answer.body.email }, { 200, w.other.email }, token.role)
    test.equal(answer.body.password_hash, nil)
    test.equal(call("GET " .. path { id = service_id }, { user = token }).status, 404)
  end
end)

test.case("an id that is none is named", function()
  local w = world()
  local answer = call("GET /api/v1/users/7", { user = w.token(w.admin) })
  test.equal({ answer.status, answer.body.errors[1].field }, { 422, "id" })
end)

test.case("who has the version already is not told again", function()
  local w = world()
  local answer = call("GET " .. path(w.customer), {
    user = w.token(w.customer), headers = { ["If-None-Match"] = '"3"' },
  })
  test.equal({ answer.status, answer.body, answer.headers.ETag }, { 304, nil, '"3"' })
end)

test.case("only administrators list users", function()
  local w = world()
  test.replace(store, "list", function() return { w.other, w.operator } end)
  test.equal(call("GET /api/v1/users").status, 401)
  for _, token in ipairs { w.token(w.customer), w.token(w.operator),
    { sub = service_id, role = "service" } } do
    test.equal(call("GET /api/v1/users", { user = token }).status, 403, token.role)
  end
  local answer = call("GET /api/v1/users", { user = w.token(w.admin) })
  test.equal({ answer.status, #answer.body.items }, { 200, 2 })
  test.equal({ answer.body.items[1].seq, answer.body.items[1].password_hash }, {})
end)

test.case("a list is filtered, and goes on where the page before ended", function()
  local w = world()
  local asked
  test.replace(store, "list", function(...)
    asked = { ... }
    return { w.other, w.operator }
  end)
  local first = call("GET /api/v1/users", { user = w.token(w.admin), query = {
    role = "operator", status = "active", q = "OPER", limit = "1",
  } })
  test.equal({ asked[1], asked[2], asked[3], asked[4], asked[5] },
    { nil, "operator", "active", "OPER", 1 })
  test.equal(#first.body.items, 1)
  call("GET /api/v1/users", { user = w.token(w.admin), query = {
    cursor = first.body.next_cursor,
  } })
  test.equal({ asked[1], asked[5] }, { 4, 20 })
  local bad = call("GET /api/v1/users", { user = w.token(w.admin), query = {
    role = "king", limit = "1000",
  } })
  test.equal({ bad.status, #bad.body.errors }, { 422, 2 })
end)

-- --- who may change whom -------------------------------------------------------------

-- A store of which the change can be seen; `rights` says that role or status were others.
local function changing(w, rights)
  local seen = {}
  test.replace(store, "change", function(id, expected, change)
    seen.id, seen.expected, seen.change = id, expected, change
    local row = store.find(id)
    if row and row.version == expected then
      return { row = row, rights_changed = rights or false }
    end
  end)
  return function(token, row, body, headers)
    seen.change = nil
    local options = { user = token, body = body, headers = headers }
    return call("PUT " .. path(row), options), seen
  end
end

test.case("everybody changes his own profile", function()
  local w = world()
  local put = changing(w)
  for _, row in ipairs { w.customer, w.operator, w.admin } do
    local answer, seen = put(w.token(row), row,
      { version = 3, name = "Eve", phone = "+44 1" })
    test.equal({ answer.status, answer.headers.ETag }, { 200, '"3"' })
    test.equal({ seen.id, seen.expected, seen.change.name, seen.change.phone },
      { row.id, 3, "Eve", "+44 1" })
  end
  test.equal(w.closed, {})
end)

test.case("nobody but an administrator changes others, or knows of them", function()
  local w = world()
  local put = changing(w)
  local body = { version = 3, name = "Eve" }
  for _, row in ipairs { w.customer, w.operator } do
    local answer, seen = put(w.token(row), w.other, body)
    test.equal({ answer.status, seen.change }, { 404, nil }, row.role)
  end
  test.equal(put({ sub = service_id, role = "service" }, w.other, body).status, 403)
  test.equal(put(w.token(w.admin), w.other, body).status, 200)
end)

test.case("nobody raises himself", function()
  local w = world()
  local put = changing(w)
  for _, body in ipairs { { version = 3, role = "admin" },
    { version = 3, status = "active" } } do
    for _, row in ipairs { w.customer, w.operator } do
      local answer, seen = put(w.token(row), row, body)
      test.equal({ answer.status, seen.change }, { 403, nil })
    end
  end
end)

test.case("a change of rights ends the sessions of the user", function()
  local w = world()
  local put = changing(w, true)
  local answer = put(w.token(w.admin), w.other, { version = 3, status = "disabled" })
  test.equal({ answer.status, w.closed[1] }, { 200, w.other.id })
  w.redis = false
  answer = put(w.token(w.admin), w.other, { version = 3, role = "operator" })
  test.equal(answer.status, 200, "the database has it")
  test.equal(test.logs()[#test.logs()].message, "sessions not revoked")
end)

test.case("roles and states that there are not are named", function()
  local w = world()
  local put = changing(w)
  for _, body in ipairs {
    { version = 3, role = "service" }, { version = 3, status = "x" }, { version = 0 },
    { version = 3, email = "a@b.test" }, { version = 3, phone = "call me" },
  } do
    test.equal(put(w.token(w.admin), w.other, body).status, 422)
  end
end)

test.case("a change names the version it is based on, and a late one is told", function()
  local w = world()
  local put = changing(w)
  local function own(body, tag)
    return put(w.token(w.customer), w.customer, body, { ["If-Match"] = tag }).status
  end
  test.equal(own { name = "Eve" }, 422)
  test.equal(own { version = 2, name = "Eve" }, 409)
  test.equal(own({ name = "Eve" }, '"2"'), 412)
  test.equal(own({ name = "Eve" }, '"3"'), 200)
  local gone = put(w.token(w.admin), { id = service_id }, { version = 1, name = "Eve" })
  test.equal(gone.status, 404)
end)

test.case("the last administrator stays one", function()
  local w = world()
  test.replace(store, "change", function()
    return nil, fault.new("refused", "no active administrator would be left")
  end)
  local answer = call("PUT " .. path(w.admin), {
    user = w.token(w.admin), body = { version = 3, role = "customer" },
  })
  test.equal({ answer.status, w.closed }, { 409, {} })
end)

test.case("sessions are ended by their user and by administrators", function()
  local w = world()
  local function revoke(token, row)
    return call("DELETE " .. path(row, "/sessions"), { user = token }).status
  end
  test.equal(revoke(w.token(w.customer), w.other), 404)
  test.equal(revoke(w.token(w.operator), w.other), 404)
  test.equal(revoke({ sub = service_id, role = "service" }, w.other), 403)
  test.equal(revoke(w.token(w.admin), { id = service_id }), 404)
  test.equal(w.closed, {})
  test.equal(revoke(w.token(w.customer), w.customer), 204)
  test.equal(revoke(w.token(w.admin), w.other), 204)
  test.equal(w.closed, { w.customer.id, w.other.id })
end)

-- --- jobs ----------------------------------------------------------------------------

local function job(name)
  for _, entry in ipairs(users.jobs) do
    if entry.name == name then
      return entry.handler
    end
  end
end

test.case("live sessions are counted, and the count outlives Redis", function()
  world()
  test.replace(sessions, "count", function() return 12 end)
  job("sessions")()
  test.equal(test.value("active_sessions_current"), 12)
  test.replace(sessions, "count", function() return nil, away end)
  job("sessions")()
  test.equal(test.value("active_sessions_current"), 12)
end)

test.case("the sweep goes on until nothing has ended, and says when it cannot", function()
  world()
  local left = 1200
  test.replace(cache, "command", function()
    local taken = math.min(left, 500)
    left = left - taken
    return taken
  end)
  test.equal(sessions.sweep(), 1200)
  test.replace(cache, "command", function() return nil, away end)
  test.fails(sessions.sweep, "unavailable")
end)

return test.suite()
