-- Values as text for people: quoted, sorted, indented, never endless.
--
--   show({ 1, 2, name = "x" }) --> {1, 2, name = "x"}
local WIDTH = 76 -- of what stays on one line
local DEPTH = 4
local ITEMS = 100 -- of one table

local RANK = { number = 1, string = 2, boolean = 3 }

local function before(a, b)
  local x, y = RANK[type(a)] or 9, RANK[type(b)] or 9
  if x ~= y then
    return x < y
  elseif x <= 2 then
    return a < b
  end
  return tostring(a) < tostring(b)
end

local function quote(text)
  return (("%q"):format(text):gsub("\\\n", "\\n"):gsub("%c", function(c)
    return ("\\%d"):format(c:byte())
  end))
end

-- Views of tables are userdata; other userdata has no members to list.
local function can_list(value)
  return type(value) == "table" or type(value) == "userdata" and pcall(pairs, value)
end

local function is_empty(value)
  for _ in pairs(value) do
    return false
  end
  return true
end

local write

local function key_text(key, around)
  if type(key) == "string" and key:find("^[%a_][%w_]*$") then
    return key
  end
  return "[" .. write(key, around, DEPTH) .. "]"
end

-- One text for each member, those of the array first.
local function members(value, around, depth)
  local parts, rest, length = {}, {}, 0
  for i, item in ipairs(value) do
    length = i
    if i <= ITEMS then
      parts[i] = write(item, around, depth + 1)
    end
  end
  for key in pairs(value) do
    local in_array = type(key) == "number" and key >= 1 and key <= length and key % 1 == 0
    if not in_array then
      rest[#rest + 1] = key
    end
  end
  table.sort(rest, before)
  for i, key in ipairs(rest) do
    if i <= ITEMS then
      local item = write(value[key], around, depth + 1)
      parts[#parts + 1] = key_text(key, around) .. " = " .. item
    end
  end
  local left = math.max(length - ITEMS, 0) + math.max(#rest - ITEMS, 0)
  if left > 0 then
    parts[#parts + 1] = ("... %d more"):format(left)
  end
  return parts
end

local function write_table(value, around, depth)
  if around[value] then
    return "<itself>"
  elseif depth >= DEPTH then
    return is_empty(value) and "{}" or "{...}"
  end
  around[value] = true
  local parts = members(value, around, depth)
  around[value] = nil
  local line = "{" .. table.concat(parts, ", ") .. "}"
  if #line + 2 * depth <= WIDTH and not line:find("\n", 1, true) then
    return line
  end
  local indent = ("  "):rep(depth + 1)
  return "{\n" .. indent .. table.concat(parts, ",\n" .. indent) .. ",\n"
    .. ("  "):rep(depth) .. "}"
end

function write(value, around, depth)
  if type(value) == "string" then
    return quote(value)
  elseif can_list(value) then
    return write_table(value, around, depth)
  end
  return tostring(value)
end

--- A text that shows the value. Tables inside tables are shown to a depth of four.
---@param value any
---@return string
return function(value)
  return write(value, {}, 0)
end
