-- JSON in and out. An empty table is written `{}`; json.array{} is written `[]`.
local native = require "native.json"

local json = {}

--- The text of a value. Raises when the value cannot be written (functions, cycles, NaN).
---@type fun(value: any): string
json.encode = native.encode

--- The value of a text, or nil and a message. Members that are null are absent.
---@type fun(text: string): any, string?
json.decode = native.decode

--- Marks a table as an array and returns it.
---@type fun(items: table): table
json.array = native.array

--- Whether a table came from `[...]` or was marked by `array`.
---@type fun(value: any): boolean
json.is_array = native.is_array

return json
