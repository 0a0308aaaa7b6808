-- JSON Web Tokens of one fixed kind: HS256, issued by "orrery" for "orrery".
--
-- The algorithm is not negotiated: a token that names another one is refused before its
-- signature is looked at. Without a secret nothing is signed and nobody is trusted.
--
-- A user's token is passed on as it came. What a service asks for on its own account it
-- asks with a token of its own, `jwt.service()`, whose role no user can have.
local clock = require "clock"
local conf = require "conf"
local crypto = require "crypto"
local fault = require "fault"
local json = require "json"
local random = require "random"

local jwt = {}

local issuer = "orrery"
local leeway_s = 30 -- clocks of two machines differ
local size_max = 4096
local service_ttl_s, service_renewed_s = 300, 60
local service_sub = "00000000-0000-4000-8000-00000000000a"
local header = crypto.base64url('{"alg":"HS256","typ":"JWT"}')

---@class claims
---@field sub string
---@field email? string of a user
---@field name? string of a service
---@field role string customer, operator, admin or service
---@field jti string
---@field sid? string the session of a user
---@field iat number
---@field exp number
---@field iss string
---@field aud string

--- The secret that signs and verifies.
---@return string
function jwt.secret()
  local secret = conf.get("jwt_secret")
  if not secret or secret == "" then
    fault.raise("unavailable", "jwt_secret is not set: tokens cannot be checked")
  end
  return secret
end

local function denied(detail)
  local headers = { ["WWW-Authenticate"] = "Bearer" } -- the caller's own
  return nil, fault.new("denied", detail, { headers = headers })
end

--- A token for the claims; issuer, audience, times and an id are added.
---@param claims table
---@param ttl_s integer
---@return string token
function jwt.sign(claims, ttl_s)
  local now = math.floor(clock.now())
  local all = {
    iss = issuer, aud = issuer, iat = now, exp = now + ttl_s, jti = random.uuid(),
  }
  for name, value in pairs(claims) do
    all[name] = value
  end
  local signed = header .. "." .. crypto.base64url(json.encode(all))
  return signed .. "." .. crypto.base64url(crypto.hmac_sha256(jwt.secret(), signed))
end

local own = {} -- this service's token, the secret it was made with, and until when

--- What this service puts into `Authorization` when it asks on its own account. Kept for
--- minutes, and renewed while it still holds.
---@return string "Bearer ..."
function jwt.service()
  local secret, now = jwt.secret(), clock.now()
  if own.secret ~= secret or now < own.made_at or now >= own.renew_at then
    local token = jwt.sign({
      sub = service_sub, role = "service", name = conf.get("service"),
    }, service_ttl_s)
    own = {
      header = "Bearer " .. token, secret = secret,
      made_at = math.floor(now), renew_at = now + service_ttl_s - service_renewed_s,
    }
  end
  return own.header
end

local function object(part)
  local text = crypto.unbase64url(part)
  local value = text and json.decode(text)
  return type(value) == "table" and value or {}
end

local function is_number(value)
  return type(value) == "number"
end

--- The claims of a token, or nil, why (denied).
---@param token string
---@return claims? claims
---@return fault? why
function jwt.verify(token)
  local secret = jwt.secret()
  local signed, head, body, signature
  if #token <= size_max then
    signed, signature = token:match("^([%w_%-]+%.[%w_%-]+)%.([%w_%-]+)$")
    head, body = token:match("^([%w_%-]+)%.([%w_%-]+)%.")
  end
  local kind = signed and object(head)
  if not signed or kind.alg ~= "HS256" or kind.crit ~= nil then
    return denied("the token is malformed")
  end
  local expected = crypto.hmac_sha256(secret, signed)
  if not crypto.equal(expected, crypto.unbase64url(signature) or "") then
    return denied("the token's signature is wrong")
  end
  local claims, now = object(body), clock.now()
  if claims.iss ~= issuer or claims.aud ~= issuer or type(claims.sub) ~= "string" then
    return denied("the token is not for this system")
  elseif not is_number(claims.exp) or claims.exp <= now then
    return denied("the token has expired")
  elseif not is_number(claims.iat) or claims.iat > now + leeway_s
    or claims.nbf ~= nil and not (is_number(claims.nbf) and claims.nbf <= now + leeway_s)
  then
    return denied("the token is not valid yet")
  end
  return claims
end

local refused = function() end

--- Has fn called for every request whose token was refused, or that brought none.
---@param fn fun()
function jwt.on_refused(fn)
  refused = fn
end

--- The claims of the request's `Authorization: Bearer ...`, or nil, why (denied).
---@param req table
---@return claims? claims
---@return fault? why
function jwt.of_request(req)
  local scheme, token = (req.headers.authorization or ""):match("^(%a+) +([^ ]+)$")
  local claims, why
  if token and scheme:lower() == "bearer" then
    claims, why = jwt.verify(token)
  else
    claims, why = denied("a bearer token is required")
  end
  if not claims then
    refused()
  end
  return claims, why
end

return jwt
