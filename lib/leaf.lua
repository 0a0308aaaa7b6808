-- Shapes without parts: text, numbers, ids, times. Services use them through `shape`.
--
-- `schema` says in the words of JSON Schema what is accepted, for lib/json_schema.lua.
local text = require "text"

local leaf = {}

-- An unknown field has the caller's own name, and what is told is logged: a number that
-- slipped in there, of a card or an account, is not repeated.
local long_number = ("%d"):rep(7) .. "+"

--- Writes down what is wrong with a field; a flood of it is cut.
---@param found {errors: {field: string, message: string}[]}
---@param field string
---@param message string
function leaf.reject(found, field, message)
  if #found.errors < 50 then
    field = field == "" and "body" or field:gsub(long_number, "*")
    table.insert(found.errors, { field = field, message = message })
  end
end

-- accept(value, as_text) gives the value to use, or nil. With as_text, numbers and
-- booleans may come as text, as they do in a query or a path.
local function make(expected, schema, accept)
  return {
    expected = expected,
    schema = schema,
    check = function(value, field, found)
      local accepted = accept(value, found.as_text)
      if accepted == nil then
        leaf.reject(found, field, "has to be " .. expected)
      end
      return accepted
    end,
  }
end

--- shape.text, where its parameters are told.
---@return shape
function leaf.text(min, max, pattern, words, ecma)
  words = words or ("text of %d to %d characters"):format(min, max)
  local schema = { type = "string", minLength = min, maxLength = max, pattern = ecma }
  local made = make(words, schema, function(value)
    local length = type(value) == "string" and text.is_clean(value) and text.length(value)
    local fits = length and length >= min and length <= max
    return fits and (not pattern or value:find(pattern)) and value or nil
  end)
  made.pattern = pattern
  return made
end

local function number(value, as_text)
  if as_text and type(value) == "string" and value:find("^-?%d[%d.]*$") then
    value = tonumber(value)
  end
  return type(value) == "number" and math.abs(value) < math.huge and value or nil
end

--- shape.integer.
---@return shape
function leaf.integer(min, max)
  local words = ("a whole number from %.0f to %.0f"):format(min, max)
  local schema = { type = "integer", minimum = min, maximum = max }
  return make(words, schema, function(value, as_text)
    value = number(value, as_text)
    return value and value % 1 == 0 and value >= min and value <= max and value or nil
  end)
end

--- Any finite number.
leaf.number = make("a number", { type = "number" }, number)

leaf.boolean = make("true or false", { type = "boolean" }, function(value, as_text)
  if as_text and (value == "true" or value == "false") then
    return value == "true"
  elseif type(value) == "boolean" then
    return value
  end
end)

local hex4 = ("%x"):rep(4)
local uuid = "^" .. hex4 .. hex4 .. ("%-" .. hex4):rep(4) .. hex4 .. hex4 .. "$"

--- Gives the id in lower case.
leaf.uuid = make("a UUID", {
  type = "string", format = "uuid",
  pattern = "^[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}$",
}, function(value)
  return type(value) == "string" and value:find(uuid) and value:lower() or nil
end)

leaf.email = leaf.text(3, 254, "^[^%s@%c]+@[^%s@%c]+%.[^%s@%c]+$", "an e-mail address")
leaf.email.schema.format = "email"

local two = "(%d%d)"
local day_and_time = "^(%d%d%d%d)%-" .. two .. "%-" .. two .. "T" .. two .. ":" .. two
  .. ":" .. two .. "(.*)$"

-- What may follow the seconds: a fraction, and then a zone that has to be there.
local function is_rest(rest)
  local zone = rest:match("^%.%d+([Z+-].*)$") or rest
  local hours, minutes = zone:match("^[+-](%d%d):(%d%d)$")
  return zone == "Z" or hours ~= nil and hours <= "23" and minutes <= "59"
end

local month_days = { 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 }

-- Whether the calendar has that day, and the day that time; a leap second may be any.
local function is_moment(year, month, day, hour, minute, second)
  local days = month_days[tonumber(month)] or 0
  year = tonumber(year)
  if month == "02" and year % 4 == 0 and (year % 100 ~= 0 or year % 400 == 0) then
    days = 29
  end
  return day >= "01" and tonumber(day) <= days
    and hour <= "23" and minute <= "59" and second <= "60"
end

--- A point in time as RFC 3339 writes it: 2026-11-20T11:00:00.123Z. The pattern cannot
--- tell leap years; `format` does.
leaf.time = make("a time as in RFC 3339", {
  type = "string", format = "date-time",
  pattern = "^[0-9]{4}-((0[13578]|1[02])-(0[1-9]|[12][0-9]|3[01])"
    .. "|(0[469]|11)-(0[1-9]|[12][0-9]|30)|02-(0[1-9]|[12][0-9]))"
    .. "T([01][0-9]|2[0-3]):[0-5][0-9]:([0-5][0-9]|60)(\\.[0-9]+)?"
    .. "(Z|[+-]([01][0-9]|2[0-3]):[0-5][0-9])$",
}, function(value)
  if type(value) ~= "string" then
    return nil
  end
  local year, month, day, hour, minute, second, rest = value:match(day_and_time)
  return year and is_moment(year, month, day, hour, minute, second) and is_rest(rest)
    and value or nil
end)

--- shape.one_of.
---@return shape
function leaf.one_of(values)
  local schema = { type = "string", enum = values }
  return make("one of " .. table.concat(values, ", "), schema, function(value)
    for _, known in ipairs(values) do
      if value == known then
        return value
      end
    end
  end)
end

return leaf
