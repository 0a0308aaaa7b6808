-- Digests and encodings. Passwords belong to `password`, tokens to `jwt`.
local native = require "native.crypto"

local crypto = {}

---@type fun(key: string, data: string): string raw bytes
crypto.hmac_sha256 = native.hmac_sha256

---@type fun(data: string): string raw bytes
crypto.sha256 = native.sha256

--- Compares in a time that does not depend on where the two differ.
---@type fun(a: string, b: string): boolean
crypto.equal = native.equal

---@type fun(data: string): string without padding
crypto.base64url = native.base64url

---@type fun(text: string): string? nil when it is not base64url
crypto.unbase64url = native.unbase64url

---@type fun(data: string): string
crypto.hex = native.hex

--- A digest as text, to recognise a request by without keeping it.
---@param data string
---@return string
function crypto.fingerprint(data)
  return crypto.hex(crypto.sha256(data))
end

return crypto
