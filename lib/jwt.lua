-- JSON Web Tokens of one fixed kind: HS256, issued by "orrery" for "orrery".
--
-- The algorithm is not negotiated: a token that names another one is refused before its
-- signature is looked at. Without a secret nothing is signed and nobody is trusted.
local clock = require "clock"
local conf = require "conf"
local crypto = require "crypto"
local fault = require "fault"
local json = require "json"

local jwt = {}

local issuer = "orrery"
local leeway_s = 30 -- clocks of two machines differ
local size_max = 4096
local header = crypto.base64url('{"alg":"HS256","typ":"JWT"}')

---@class claims
---@field sub string
---@field email string
---@field role string
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

--- A token for the claims; issuer, audience and times are added.
---@param claims table
---@param ttl_s integer
---@return string token
function jwt.sign(claims, ttl_s)
  local now = math.floor(clock.now())
  local all = { iss = issuer, aud = issuer, iat = now, exp = now + ttl_s }
  for name, value in pairs(claims) do
    all[name] = value
  end
  local signed = header .. "." .. crypto.base64url(json.encode(all))
  return signed .. "." .. crypto.base64url(crypto.hmac_sha256(jwt.secret(), signed))
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
  if not signed or object(head).alg ~= "HS256" then
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
  elseif not is_number(claims.iat) or claims.iat > now + leeway_s then
    return denied("the token is not valid yet")
  end
  return claims
end

--- The claims of the request's `Authorization: Bearer ...`, or nil, why (denied).
---@param req table
---@return claims? claims
---@return fault? why
function jwt.of_request(req)
  local scheme, token = (req.headers.authorization or ""):match("^(%a+) +([^ ]+)$")
  if not token or scheme:lower() ~= "bearer" then
    return denied("a bearer token is required")
  end
  return jwt.verify(token)
end

return jwt
