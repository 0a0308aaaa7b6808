-- What valid input looks like. A shape checks a whole value and names every field it
-- rejects by a dotted path with zero-based brackets: items[0].sku.
--
--   local line = shape.object { sku = shape.text(1, 32), count = shape.integer(1, 99) }
--   local value, errors = shape.check(line, body)
local describe, json, text = require "describe", require "json", require "text"

local shape = {}

---@class shape
---@field check fun(value: any, field: string, found: table): any
---@field optional? boolean
---@field default? any
---@field expected? string in words; these and fields, item, inner are for descriptions

local function reject(found, field, message)
  if #found.errors < 50 then
    field = field == "" and "body" or field
    table.insert(found.errors, { field = field, message = message })
  end
end

-- accept(value, as_text) gives the value to use, or nil. With as_text, numbers and
-- booleans may come as text, as they do in a query or a path.
local function leaf(expected, accept)
  return {
    expected = expected,
    check = function(value, field, found)
      local accepted = accept(value, found.as_text)
      if accepted == nil then
        reject(found, field, "has to be " .. expected)
      end
      return accepted
    end,
  }
end

--- Text of so many characters.
---@param min integer
---@param max integer
---@param pattern? string a Lua pattern for the whole text, anchored
---@param words? string what the pattern describes
---@return shape
function shape.text(min, max, pattern, words)
  words = words or ("text of %d to %d characters"):format(min, max)
  return leaf(words, function(value)
    local length = type(value) == "string" and text.is_clean(value) and text.length(value)
    local fits = length and length >= min and length <= max
    return fits and (not pattern or value:find(pattern)) and value or nil
  end)
end

local function number(value, as_text)
  if as_text and type(value) == "string" and value:find("^-?%d[%d.]*$") then
    value = tonumber(value)
  end
  return type(value) == "number" and math.abs(value) < math.huge and value or nil
end

--- A whole number in a range.
---@param min integer
---@param max integer
---@return shape
function shape.integer(min, max)
  local words = ("a whole number from %.0f to %.0f"):format(min, max)
  return leaf(words, function(value, as_text)
    value = number(value, as_text)
    return value and value % 1 == 0 and value >= min and value <= max and value or nil
  end)
end

--- Any finite number.
shape.number = leaf("a number", number)

shape.boolean = leaf("true or false", function(value, as_text)
  if as_text and (value == "true" or value == "false") then
    return value == "true"
  elseif type(value) == "boolean" then
    return value
  end
end)

local hex4 = ("%x"):rep(4)
local uuid = "^" .. hex4 .. hex4 .. ("%-" .. hex4):rep(4) .. hex4 .. hex4 .. "$"

--- Gives the id in lower case.
shape.uuid = leaf("a UUID", function(value)
  return type(value) == "string" and value:find(uuid) and value:lower() or nil
end)

shape.email = shape.text(3, 254, "^[^%s@%c]+@[^%s@%c]+%.[^%s@%c]+$", "an e-mail address")

--- One of the given texts.
---@param values string[]
---@return shape
function shape.one_of(values)
  return leaf("one of " .. table.concat(values, ", "), function(value)
    for _, known in ipairs(values) do
      if value == known then
        return value
      end
    end
  end)
end

--- Anything, even nothing.
shape.any = { optional = true, check = function(value) return value end }

--- Like the given shape, or absent. The default is no table: all requests would share it.
---@param inner shape
---@param default? any
---@return shape
function shape.optional(inner, default)
  if type(default) == "table" then
    error("a default must not be a table", 2)
  end
  return { check = inner.check, optional = true, default = default, inner = inner }
end

local function member(inner, value, field, found)
  if value ~= nil then
    return inner.check(value, field, found)
  elseif inner.optional then
    return inner.default
  end
  return reject(found, field, "is required")
end

--- An array of so many items.
---@param item shape
---@param min integer
---@param max integer
---@return shape
function shape.list(item, min, max)
  local expected = ("has to be a list of %d to %d items"):format(min, max)
  return {
    item = item, min = min, max = max,
    check = function(value, field, found)
      if not json.is_array(value) or #value < min or #value > max then
        return reject(found, field, expected)
      end
      local list = json.array {}
      for i = 1, #value do
        list[i] = member(item, value[i], ("%s[%d]"):format(field, i - 1), found)
      end
      return list
    end,
  }
end

--- An object of these fields. Unknown ones are rejected; of an event they are dropped.
---@param fields table<string, shape>
---@param unknown? "drop"
---@return shape
function shape.object(fields, unknown)
  local names = {}
  for name in pairs(fields) do
    names[#names + 1] = name
  end
  table.sort(names)
  return {
    names = names, fields = fields, open = unknown == "drop",
    check = function(value, field, found)
      if type(value) ~= "table" or json.is_array(value) then
        return reject(found, field, "has to be an object")
      end
      local object, prefix = {}, field == "" and "" or field .. "."
      for _, name in ipairs(names) do
        object[name] = member(fields[name], value[name], prefix .. name, found)
      end
      for name in pairs(unknown == "drop" and {} or value) do
        if not fields[name] then
          reject(found, prefix .. tostring(name):sub(1, 64), "is not known here")
        end
      end
      return object
    end,
  }
end

--- The checked value, or nil and every problem found.
---@param expected shape
---@param value any
---@param as_text? boolean the value is from a query or a path
---@return any value
---@return {field: string, message: string}[]? errors
function shape.check(expected, value, as_text)
  local found = { errors = {}, as_text = as_text or false }
  local checked = member(expected, value, "", found)
  if #found.errors > 0 then return nil, found.errors end
  return checked
end

--- What a shape takes, in one line: {note?: text 0..80, sku: text 1..32}.
---@type fun(described: shape): string
shape.describe = describe.shape

return shape
