-- What valid input looks like. A shape checks a whole value and names every field it
-- rejects by a dotted path with zero-based brackets: items[0].sku.
--
--   local line = shape.object { sku = shape.text(1, 32), count = shape.integer(1, 99) }
--   local value, errors = shape.check(line, body)
local describe, json, leaf = require "describe", require "json", require "leaf"
local text = require "text"
local reject = leaf.reject

local shape = {}

---@class shape
---@field check fun(value: any, field: string, found: table): any
---@field optional? boolean
---@field default? any
---@field expected? string in words; this, schema, fields, item, values and inner are for
---  descriptions

-- The other shapes without parts: lib/leaf.lua.

--- Text of so many characters.
---@param min integer
---@param max integer
---@param pattern? string a Lua pattern for the whole text, anchored
---@param words? string what the pattern describes
---@param ecma? string the same as a regular expression, where lib/ecma.lua cannot tell
---@return shape
function shape.text(min, max, pattern, words, ecma)
  return leaf.text(min, max, pattern, words, ecma)
end

--- A whole number in a range.
---@param min integer
---@param max integer
---@return shape
function shape.integer(min, max)
  return leaf.integer(min, max)
end

--- Any finite number.
shape.number = leaf.number

--- True or false.
shape.boolean = leaf.boolean

--- A UUID; gives it in lower case.
shape.uuid = leaf.uuid

--- An e-mail address.
shape.email = leaf.email

--- A point in time as RFC 3339 writes it: 2026-11-20T11:00:00.123Z.
shape.time = leaf.time

--- One of the given texts.
---@param values string[]
---@return shape
function shape.one_of(values)
  return leaf.one_of(values)
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

--- The same shape, with an example that descriptions show.
---@param inner shape
---@param value any
---@return shape
function shape.example(inner, value)
  return {
    check = inner.check, optional = inner.optional, default = inner.default,
    inner = inner, example = value,
  }
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

--- An object of any names, whose values all have one shape.
---@param values shape
---@return shape
function shape.map(values)
  return {
    values = values,
    check = function(value, field, found)
      if type(value) ~= "table" or json.is_array(value) then
        return reject(found, field, "has to be an object")
      end
      local object, prefix = {}, field == "" and "" or field .. "."
      for name, inside in pairs(value) do
        if type(name) == "string" and text.is_clean(name) then
          object[name] = member(values, inside, prefix .. name:sub(1, 64), found)
        else
          reject(found, field, "has a name that is no text")
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
  if #found.errors > 0 then
    return nil, found.errors
  end
  return checked
end

--- What a shape takes, in one line: {note?: text 0..80, sku: text 1..32}.
---@type fun(described: shape): string
shape.describe = describe.shape

return shape
