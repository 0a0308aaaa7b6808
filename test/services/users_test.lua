-- Users: who gets in, and what a refusal gives away.
local fault = require "fault"
local test = require "test"
local users = test.service "oms/users"

local cache = require "cache"
local password = require "password"
local store = require "store"

local demo = {
  id = "00000000-0000-4000-8000-000000000001", email = "demo@orrery.test", name = "Demo",
  role = "customer", password_hash = "hash of right",
}

local function world()
  local checked = {}
  test.replace(cache, "key", function(key) return "users:" .. key end)
  test.replace(cache, "command", function() return 1 end)
  test.replace(password, "hash", function(text) return "hash of " .. text end)
  test.replace(password, "verify", function(encoded, text)
    table.insert(checked, encoded)
    return encoded == "hash of " .. text
  end)
  test.replace(store, "credentials", function(email)
    return email == demo.email and demo or nil
  end)
  test.replace(store, "find", function(id) return id == demo.id and demo or nil end)
  return checked
end

local function login(email, text)
  return test.call(users, "POST /api/v1/users/login", {
    body = { email = email, password = text },
  })
end

test.case("the right password gives a token that me accepts", function()
  world()
  local answer = login(demo.email, "right")
  test.equal(answer.status, 200)
  test.equal({ answer.body.token_type, answer.body.expires_in }, { "Bearer", 3600 })
  local me = test.call(users, "GET /api/v1/users/me", {
    headers = { authorization = "Bearer " .. answer.body.access_token },
  })
  test.equal({ me.status, me.body.email }, { 200, demo.email })
end)

test.case("a wrong password and an unknown address look and cost the same", function()
  local checked = world()
  local wrong, unknown = login(demo.email, "wrong"), login("nobody@orrery.test", "wrong")
  test.equal(wrong.status, 401)
  test.equal({ wrong.status, wrong.body.detail }, { unknown.status, unknown.body.detail })
  test.equal(#checked, 2)
  test.match(checked[2], "^%$argon2id%$")
end)

test.case("logins are counted by how they ended", function()
  world()
  local function counts()
    return { test.value("login_attempts_total", { "success" }) or 0,
      test.value("login_attempts_total", { "failure" }) or 0 }
  end
  local before = counts()
  login(demo.email, "right")
  login(demo.email, "wrong")
  login("nobody@orrery.test", "wrong")
  test.equal(counts(), { before[1] + 1, before[2] + 2 })
end)

test.case("nothing that is logged has the password", function()
  world()
  test.replace(cache, "command", function()
    return nil, fault.new("unavailable", "down")
  end)
  login(demo.email, "right")
  test.equal(test.logs()[1].message, "session not kept")
  for _, value in pairs(test.logs()[1].attributes) do
    test.equal(tostring(value):find("right", 1, true), nil)
  end
end)

test.case("without Redis people still get in", function()
  world()
  test.replace(cache, "command", function()
    return nil, fault.new("unavailable", "down")
  end)
  test.equal(login(demo.email, "right").status, 200)
end)

test.case("me refuses no token, a bad one, and one of a user who is gone", function()
  world()
  test.equal(test.call(users, "GET /api/v1/users/me").status, 401)
  test.equal(test.call(users, "GET /api/v1/users/me", {
    headers = { authorization = "Bearer x.y.z" },
  }).status, 401)
  test.equal(test.call(users, "GET /api/v1/users/me", {
    user = { sub = "gone", role = "admin" },
  }).status, 401)
end)

test.case("registering keeps a hash and never the password", function()
  world()
  local kept
  test.replace(store, "add", function(user)
    kept = user
    return { id = user.id, email = user.email, name = user.name, role = "customer" }
  end)
  local answer = test.call(users, "POST /api/v1/users/register", {
    body = { email = "new@orrery.test", password = "long enough" },
  })
  test.equal({ answer.status, answer.body.role }, { 201, "customer" })
  test.equal(kept.password_hash, "hash of long enough")
  test.equal(kept.password, nil)
end)

test.case("an address that is taken is refused", function()
  world()
  test.replace(store, "add", function() return nil, fault.new("refused", "duplicate") end)
  test.equal(test.call(users, "POST /api/v1/users/register", {
    body = { email = demo.email, password = "long enough" },
  }).status, 409)
end)

test.case("short passwords, bad addresses and roles of one's choice are named", function()
  world()
  local answer = test.call(users, "POST /api/v1/users/register", {
    body = { email = "nonsense", password = "short", role = "admin" },
  })
  test.equal(answer.status, 422)
  test.equal({ answer.body.errors[1].field, answer.body.errors[2].field,
    answer.body.errors[3].field }, { "email", "password", "role" })
end)

return test.suite()
