---@meta native.crypto
-- Hashes and encodings. Data are bytes in a text.

local crypto = {}

---@param data string
---@return string text without padding
function crypto.base64url(data) end

---@param text string
---@return string? data nil: it is not base64url without padding
function crypto.unbase64url(text) end

--- Whether both are the same, in a time that does not tell where they differ.
---@param a string
---@param b string
---@return boolean
function crypto.equal(a, b) end

---@param data string
---@return string digits lower case
function crypto.hex(data) end

---@param key string
---@param data string
---@return string bytes 32
function crypto.hmac_sha256(key, data) end

---@param data string
---@return string bytes 32
function crypto.sha256(data) end

return crypto
