---@meta native.json
-- JSON, with arrays that stay arrays when they are empty.

local json = {}

--- Stands for null when writing. It is not given when reading: null members are absent.
---@type userdata
json.null = nil

--- Marks the table, and gives it: it is written as [...] from now on.
---@param table table
---@return table table
function json.array(table) end

---@param value any
---@return string text
function json.encode(value) end

---@param text string
---@return any value
---@return string? message when value is nil
function json.decode(text) end

--- Whether it was decoded from [...], or marked by array.
---@param value any
---@return boolean
function json.is_array(value) end

return json
