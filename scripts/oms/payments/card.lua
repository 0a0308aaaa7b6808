-- Cards: is this number possible, has it expired, whose is it. Nothing here is kept or
-- logged.
local clock = require "clock"

local card = {}

-- Of the brands that are known: how long their numbers and security codes are.
local lengths = {
  visa = { number = { [13] = true, [16] = true, [19] = true }, cvc = 3 },
  mastercard = { number = { [16] = true }, cvc = 3 },
  amex = { number = { [15] = true }, cvc = 4 },
}

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
  local two, four = tonumber(number:sub(1, 2)), tonumber(number:sub(1, 4))
  if number:sub(1, 1) == "4" then
    return "visa"
  elseif two >= 51 and two <= 55 or four >= 2221 and four <= 2720 then
    return "mastercard"
  elseif two == 34 or two == 37 then
    return "amex"
  end
  return "other"
end

--- Everything wrong with a card that a shape cannot see.
---@param fields {number: string, exp_month: integer, exp_year: integer, cvc: string}
---@return {field: string, message: string}[]
function card.problems(fields)
  local errors = {}
  local function reject(field, message)
    errors[#errors + 1] = { field = "card." .. field, message = message }
  end
  local expected = lengths[card.brand(fields.number)]
  if not card.is_valid(fields.number)
    or expected and not expected.number[#fields.number] then
    reject("number", "is not a valid card number")
  end
  if card.is_expired(fields.exp_month, fields.exp_year) then
    reject("exp_year", "is past: the card has expired")
  end
  if expected and #fields.cvc ~= expected.cvc then
    reject("cvc", ("has %d digits on such a card"):format(expected.cvc))
  end
  return errors
end

return card
