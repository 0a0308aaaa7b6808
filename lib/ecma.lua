-- Lua patterns as regular expressions of ECMA-262, which JSON Schema uses.
--
-- Characters, classes, sets, repetitions, captures and anchors are translated; not %b,
-- %f, back references, position captures, and complements of classes inside a set. Text
-- never holds NUL, so no complement matches it. What a pattern repeats by the byte is
-- repeated by the character: the same, unless a complement stands for a byte of several.
local ecma = {}

local classes = {
  a = "A-Za-z", c = "\\x00-\\x1f\\x7f", d = "0-9", g = "!-~", l = "a-z",
  p = "!-/:-@\\[-`{-~", s = "\\t-\\r ", u = "A-Z", w = "0-9A-Za-z", x = "0-9A-Fa-f",
}

local lazy = { ["*"] = "*", ["+"] = "+", ["?"] = "?", ["-"] = "*?" }

local function literal(char)
  return (char:gsub("[%^%$\\%.%*%+%?%(%)%[%]{}|]", "\\%0"))
end

local function literal_in_set(char)
  return (char:gsub("[%]%[\\%^%-]", "\\%0"))
end

local function is_letter(char)
  return char and char:find("^%a$")
end

-- The set that begins at `from`, and where it ends. A `]` at its head is a character.
local function set(pattern, from)
  local at, parts = from + 1, {}
  local complement = pattern:sub(at, at) == "^"
  at = complement and at + 1 or at
  local first = at
  while at == first or pattern:sub(at, at) ~= "]" do
    local char = pattern:sub(at, at)
    local escaped = char == "%" and pattern:sub(at + 1, at + 1)
    local low, high = pattern:match("^([^%%])%-([^%]%%])", at)
    if char == "" or escaped == "" or not classes[escaped] and is_letter(escaped) then
      return nil
    elseif escaped then
      parts[#parts + 1] = classes[escaped] or literal_in_set(escaped)
      at = at + 2
    elseif low then
      parts[#parts + 1] = literal_in_set(low) .. "-" .. literal_in_set(high)
      at = at + 3
    else
      parts[#parts + 1] = literal_in_set(char)
      at = at + 1
    end
  end
  local inside = table.concat(parts)
  if complement and not inside:find("\\x00", 1, true) then
    inside = "\\x00" .. inside
  end
  return ("[%s%s]"):format(complement and "^" or "", inside), at
end

-- One item without its repetition, and where it ends.
local function item(pattern, at)
  local char = pattern:sub(at, at)
  if char == "[" then
    return set(pattern, at)
  elseif char == "." then
    return "[^\\x00]", at
  elseif char ~= "%" then
    return literal(char), at
  end
  local name = pattern:sub(at + 1, at + 1)
  local class = classes[name:lower()]
  if class and name:find("%u") then
    local nul = class:find("\\x00", 1, true) and "" or "\\x00"
    return ("[^%s%s]"):format(nul, class), at + 1
  elseif class then
    return "[" .. class .. "]", at + 1
  elseif name:find("^[%w]?$") then -- %b, %f, %1, or the pattern's end
    return nil
  end
  return literal(name), at + 1
end

local function is_capture(pattern, at)
  return pattern:find("^[()]", at) and pattern:sub(at, at + 1) ~= "()"
end

--- The regular expression that finds what the pattern finds, or nil when the pattern has
--- what is not translated.
---@param pattern string
---@return string?
function ecma.of(pattern)
  local parts, at, size = {}, 1, #pattern
  if pattern:find("[\128-\255]") then
    return nil
  end
  if pattern:sub(1, 1) == "^" then
    parts[1], at = "^", 2
  end
  while at <= size do
    if at == size and pattern:sub(at) == "$" then
      parts[#parts + 1] = "$"
    elseif is_capture(pattern, at) then
      parts[#parts + 1] = pattern:sub(at, at)
    else
      local made, last = item(pattern, at)
      if not made or pattern:find("^%(%)", at) then
        return nil
      end
      local repeated = lazy[pattern:sub(last + 1, last + 1)]
      parts[#parts + 1] = made .. (repeated or "")
      at = repeated and last + 1 or last
    end
    at = at + 1
  end
  return table.concat(parts)
end

return ecma
