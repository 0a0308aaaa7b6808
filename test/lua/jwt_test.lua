-- Tokens are trusted only when we made them, for us, and not too long ago.
local clock = require "clock"
local crypto = require "crypto"
local json = require "json"
local jwt = require "jwt"
local test = require "test"

local claims = { sub = "u1", email = "a@b.cd", role = "customer" }

local function with_secret()
  test.replace(jwt, "secret", function() return "secret" end)
end

local function forged(header, body, key)
  local signed = crypto.base64url(header) .. "." .. crypto.base64url(json.encode(body))
  return signed .. "." .. crypto.base64url(crypto.hmac_sha256(key or "secret", signed))
end

local function fresh(changes)
  local now = clock.now()
  local body = { iss = "orrery", aud = "orrery", sub = "u1", iat = now, exp = now + 60 }
  for name, value in pairs(changes or {}) do
    body[name] = value
  end
  return body
end

local hs256 = '{"alg":"HS256","typ":"JWT"}'

test.case("a token comes back as its claims", function()
  with_secret()
  local found = jwt.verify(jwt.sign(claims, 60))
  test.equal(found.sub, "u1")
  test.equal(found.role, "customer")
  test.equal(found.exp - found.iat, 60)
  test.equal(jwt.verify(forged(hs256, fresh())).sub, "u1")
end)

test.case("every token has an id of its own, or the one it is given", function()
  with_secret()
  local one, two = jwt.verify(jwt.sign(claims, 60)), jwt.verify(jwt.sign(claims, 60))
  test.match(one.jti, "^%x+%-%x+%-4")
  test.equal(one.jti == two.jti, false)
  test.equal(jwt.verify(jwt.sign({ sub = "u1", jti = "mine" }, 60)).jti, "mine")
end)

test.case("another algorithm is refused, whatever the signature", function()
  with_secret()
  for _, header in ipairs {
    '{"alg":"none"}', '{"alg":"None"}', '{"alg":"HS512"}', '{"alg":"RS256"}',
    '{"alg":"hs256"}', '{"alg":["HS256"]}', '{"alg":"HS256","crit":["b64"],"b64":false}',
    "{}", "[]", "x",
  } do
    test.fails(function() return jwt.verify(forged(header, fresh())) end, "denied")
  end
  local unsigned = crypto.base64url('{"alg":"none"}') .. "."
    .. crypto.base64url(json.encode(fresh())) .. "."
  test.fails(function() return jwt.verify(unsigned) end, "denied")
end)

test.case("another key is refused", function()
  with_secret()
  test.fails(function() return jwt.verify(forged(hs256, fresh(), "guess")) end, "denied")
end)

test.case("a changed claim is refused", function()
  with_secret()
  local head, _, signature = jwt.sign(claims, 60):match("^(.-)%.(.-)%.(.*)$")
  local body = crypto.base64url(json.encode(fresh { role = "admin" }))
  test.fails(function()
    return jwt.verify(head .. "." .. body .. "." .. signature)
  end, "denied")
end)

test.case("an expired, an early and a foreign token are refused", function()
  with_secret()
  for _, changes in ipairs {
    { exp = clock.now() - 1 }, { exp = "never" }, { iat = clock.now() + 3600 },
    { nbf = clock.now() + 3600 }, { nbf = "later" },
    { iss = "other" }, { aud = "other" }, { aud = json.array { "other", "orrery" } },
    { sub = 7 },
  } do
    local token = forged(hs256, fresh(changes))
    test.fails(function() return jwt.verify(token) end, "denied")
  end
end)

test.case("nonsense is refused", function()
  with_secret()
  for _, token in ipairs { "", "a", "a.b", "a.b.c", "a.b.c.d", ("x"):rep(5000), "!.?" } do
    test.fails(function() return jwt.verify(token) end, "denied")
  end
end)

test.case("a token that is too long is refused, even a good one", function()
  with_secret()
  test.equal(jwt.verify(jwt.sign({ sub = "u1", name = ("x"):rep(2000) }, 60)).sub, "u1")
  local long = jwt.sign({ sub = "u1", name = ("x"):rep(4000) }, 60)
  test.fails(function() return jwt.verify(long) end, "denied")
end)

test.case("a token whose parts are not JSON objects is refused", function()
  with_secret()
  for _, body in ipairs { "", "nonsense", "[]", '"text"', "null", "7" } do
    local signed = crypto.base64url(hs256) .. "." .. crypto.base64url(body)
    local token = signed .. "." .. crypto.base64url(crypto.hmac_sha256("secret", signed))
    test.fails(function() return jwt.verify(token) end, "denied")
  end
end)

local function role_of(header)
  return jwt.of_request({ headers = { authorization = header } }).role
end

test.case("a service's own token says so, is kept, and renewed in time", function()
  with_secret()
  local now = clock.now()
  test.replace(clock, "now", function() return now end)
  local header = jwt.service()
  local found = jwt.of_request { headers = { authorization = header } }
  test.equal({ found.role, found.sub, found.exp - found.iat },
    { "service", "00000000-0000-4000-8000-00000000000a", 300 })
  now = now + 200
  test.equal(jwt.service(), header)
  now = now + 50
  test.equal(jwt.service() == header, false, "it would have held another 50 s")
  now = now + 200
  test.equal(role_of(jwt.service()), "service")
end)

test.case("a service's own token follows the secret, and a clock put back", function()
  local secret, now = "one", clock.now()
  test.replace(jwt, "secret", function() return secret end)
  test.replace(clock, "now", function() return now end)
  jwt.service()
  secret = "two"
  test.equal(role_of(jwt.service()), "service")
  now = now - 7200
  test.equal(role_of(jwt.service()), "service")
end)

test.case("refusals of requests can be watched, and only they", function()
  with_secret()
  local count = 0
  jwt.on_refused(function() count = count + 1 end)
  jwt.of_request { headers = { authorization = "Bearer " .. jwt.sign(claims, 60) } }
  test.equal(count, 0)
  jwt.of_request { headers = {} }
  jwt.of_request { headers = { authorization = "Bearer x.y.z" } }
  test.equal(count, 2)
end)

test.case("the header names the scheme, in any case", function()
  with_secret()
  local token = jwt.sign(claims, 60)
  local function of(value)
    return function() return jwt.of_request { headers = { authorization = value } } end
  end
  test.equal(of("Bearer " .. token)().sub, "u1")
  test.equal(of("bearer " .. token)().sub, "u1")
  test.fails(of("Basic " .. token), "denied")
  test.fails(of(token), "denied")
  test.fails(of(nil), "denied")
end)

test.case("a refusal tells the scheme", function()
  with_secret()
  local why = test.fails(function() return jwt.verify("x") end, "denied")
  test.equal(why.headers["WWW-Authenticate"], "Bearer")
end)

return test.suite()
