-- Shapes in the words of JSON Schema 2020-12: what validates is what a shape accepts.
--
-- An object that is used in several places becomes a component, named after where it was
-- seen first: count all that there is, then write it.
--
--   local schemas = json_schema.new()
--   schemas:count(shape) ...
--   schemas:write(shape, "Order"), schemas.components
local ecma = require "ecma"
local json = require "json"

local json_schema = {}

-- No text holds NUL: PostgreSQL knows none.
local clean = "^[^\\x00]*$"

---@class schemas
---@field components table<string, table>
local schemas = {}
local of_schemas = { __index = schemas, __metatable = false }

-- What libraries give are views, which JSON does not know.
local function plain(value)
  if type(value) ~= "table" and type(value) ~= "userdata" then
    return value
  end
  local copy = {}
  for name, inside in pairs(value) do
    copy[name] = plain(inside)
  end
  return #copy > 0 and json.array(copy) or copy
end

local function leaf(shape)
  local schema = plain(shape.schema)
  if schema.type == "string" and not schema.pattern and not schema.enum then
    schema.pattern = shape.pattern and ecma.of(shape.pattern) or clean
    if shape.pattern and schema.pattern == clean then
      error(("shape.text: %q needs its regular expression"):format(shape.pattern), 0)
    end
  end
  return schema
end

--- "items" of "Order" is "OrderItem".
---@param parent string
---@param name string
---@return string
function json_schema.name(parent, name)
  name = name:gsub("ies$", "y"):gsub("([^su])s$", "%1")
  return parent .. name:gsub("^%l", string.upper):gsub("[^%w]+(%w?)", string.upper)
end

--- Notes that a shape is used once more.
---@param shape shape
function schemas:count(shape)
  if shape.inner then
    self:count(shape.inner)
  elseif shape.item or shape.values then
    self:count(shape.item or shape.values)
  elseif shape.fields then
    local uses = (self.uses[shape] or 0) + 1
    self.uses[shape] = uses
    for _, name in ipairs(uses == 1 and shape.names or {}) do
      self:count(shape.fields[name])
    end
  end
end

local function object(self, shape, name)
  local properties, required = {}, json.array {}
  for _, field in ipairs(shape.names) do
    local inner = shape.fields[field]
    local is_page = field == "items" and shape.fields.next_cursor
    local inner_name = is_page and name or json_schema.name(name, field)
    properties[field] = self:write(inner, inner_name)
    if not inner.optional then
      required[#required + 1] = field
    end
  end
  return {
    type = "object", properties = properties,
    required = required[1] and required or nil,
    additionalProperties = shape.open,
  }
end

local function component(self, shape, name)
  local known = self.names[shape]
  if not known then
    known = name
    for number = 2, math.huge do
      if not self.components[known] then
        break
      end
      known = name .. number
    end
    self.names[shape], self.components[known] = known, {}
    self.components[known] = object(self, shape, known)
  end
  return { ["$ref"] = "#/components/schemas/" .. known }
end

local function wrapped(self, shape, name)
  local schema = self:write(shape.inner, name)
  if shape.default ~= nil then
    schema.default = shape.default
  end
  if shape.example ~= nil then
    schema.examples = json.array { plain(shape.example) }
  end
  return schema
end

--- The schema of a shape; name is for the component that it may become.
---@param shape shape
---@param name string
---@return table
function schemas:write(shape, name)
  if shape.inner then
    return wrapped(self, shape, name)
  elseif shape.schema then
    return leaf(shape)
  elseif shape.item then
    return {
      type = "array", items = self:write(shape.item, name),
      minItems = shape.min, maxItems = shape.max,
    }
  elseif shape.values then
    return {
      type = "object", additionalProperties = self:write(shape.values, name),
      propertyNames = { pattern = clean },
    }
  elseif not shape.fields then
    return {} -- anything, or what its code accepts
  elseif (self.uses[shape] or 0) > 1 then
    return component(self, shape, name)
  end
  return object(self, shape, name)
end

--- Schemas of one document.
---@return schemas
function json_schema.new()
  return setmetatable({ components = {}, names = {}, uses = {} }, of_schemas)
end

return json_schema
