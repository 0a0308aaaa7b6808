-- Cards: is this number possible, has it expired, whose is it. Nothing here is kept or
-- logged.
local clock = require "clock"

local card = {}

--- Luhn's check digit.
---@param number string digits
---@return boolean
function card.is_valid(number)
  local sum, double = 0, false
  for i = #number, 1, -1 do
    local digit = number:byte(i) - 48
    if double then
      digit = digit * 2
      digit = digit > 9 and digit - 9 or digit
    end
    sum, double = sum + digit, not double
  end
  return sum % 10 == 0
end

--- A card is good until the end of its month.
---@param month integer
---@param year integer
---@return boolean
function card.is_expired(month, year)
  local now_year, now_month = clock.iso():match("^(%d+)-(%d+)")
  return year * 12 + month < tonumber(now_year) * 12 + tonumber(now_month)
end

---@param number string
---@return string
function card.brand(number)
  local first, two = number:sub(1, 1), tonumber(number:sub(1, 2))
  if first == "4" then
    return "visa"
  elseif two >= 51 and two <= 55 or two >= 22 and two <= 27 then
    return "mastercard"
  elseif two == 34 or two == 37 then
    return "amex"
  end
  return "other"
end

--- Everything wrong with a card that a shape cannot see.
---@param fields {number: string, exp_month: integer, exp_year: integer}
---@return {field: string, message: string}[]
function card.problems(fields)
  local errors = {}
  if not card.is_valid(fields.number) then
    errors[1] = { field = "card.number", message = "is not a valid card number" }
  end
  if card.is_expired(fields.exp_month, fields.exp_year) then
    table.insert(errors, { field = "card.exp_year", message = "the card has expired" })
  end
  return errors
end

return card
