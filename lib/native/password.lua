---@meta native.password
-- argon2id, on a helper thread: both functions wait.

local password = {}

---@param text string at most 1024 bytes
---@return string encoded with its salt and parameters
function password.hash(text) end

---@param encoded string
---@param text string
---@return boolean
function password.verify(encoded, text) end

return password
