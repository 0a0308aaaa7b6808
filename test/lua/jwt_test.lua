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

test.case("another algorithm is refused, whatever the signature", function()
  with_secret()
  for _, header in ipairs {
    '{"alg":"none"}', '{"alg":"HS512"}', '{"alg":"hs256"}', "{}", "x",
  } do
    test.fails(function() return jwt.verify(forged(header, fresh())) end, "denied")
  end
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
    { iss = "other" }, { aud = "other" }, { sub = 7 },
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
