-- IBANs: is this one possible (ISO 13616). Nothing here is kept or logged.
local iban = {}

-- How long they are, by country, as the register of SWIFT has it.
local lengths = {
  AD = 24, AE = 23, AL = 28, AT = 20, AZ = 28, BA = 20, BE = 16, BG = 22, BH = 22,
  BR = 29, BY = 28, CH = 21, CR = 22, CY = 28, CZ = 24, DE = 22, DK = 18, DO = 28,
  EE = 20, EG = 29, ES = 24, FI = 18, FO = 18, FR = 27, GB = 22, GE = 22, GI = 23,
  GL = 18, GR = 27, GT = 28, HR = 21, HU = 28, IE = 22, IL = 23, IQ = 23, IS = 26,
  IT = 27, JO = 30, KW = 30, KZ = 20, LB = 28, LC = 32, LI = 21, LT = 20, LU = 20,
  LV = 21, MC = 27, MD = 24, ME = 22, MK = 19, MR = 27, MT = 31, MU = 30, NL = 18,
  NO = 15, PK = 24, PL = 28, PS = 29, PT = 25, QA = 29, RO = 24, RS = 22, SA = 24,
  SC = 31, SE = 24, SI = 19, SK = 24, SM = 27, ST = 25, SV = 28, TL = 23, TN = 24,
  TR = 26, UA = 29, VA = 22, VG = 24, XK = 20,
}

--- As machines write it: without the spaces that people put between groups.
---@param text string
---@return string
function iban.plain(text)
  return (text:gsub(" ", ""):upper())
end

-- The remainder by 97 of a number that is too long for a number: digit by digit.
local function remainder(digits)
  local rest = 0
  for i = 1, #digits do
    rest = (rest * 10 + digits:byte(i) - 48) % 97
  end
  return rest
end

--- Country, length and check digits.
---@param text string plain
---@return boolean
function iban.is_valid(text)
  if #text ~= lengths[text:sub(1, 2)] or not text:find("^%u%u%d%d[%u%d]+$") then
    return false
  end
  local digits = (text:sub(5) .. text:sub(1, 4)):gsub("%u", function(letter)
    return tostring(letter:byte() - 55) -- A is 10
  end)
  return remainder(digits) == 1
end

return iban
