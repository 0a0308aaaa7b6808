-- Passwords: argon2id, computed on a helper thread while other tasks go on.
local native = require "native.password"

local password = {}

--- The encoded hash to store: it carries its own salt and parameters.
---@type fun(text: string): string
password.hash = native.hash

--- Whether the text is the password behind an encoded hash.
---@type fun(encoded: string, text: string): boolean
password.verify = native.verify

return password
