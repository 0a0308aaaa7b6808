-- One route in the words of OpenAPI: for lib/openapi.lua.
local admit = require "admit"
local json = require "json"
local openapi_answers = require "openapi_answers"

local openapi_operation = {}

local etag_pattern = '^"[0-9]+"$'

-- The shape under its options and examples.
local function bare(shape)
  while shape and shape.inner do
    shape = shape.inner
  end
  return shape
end

-- Whether the body names the version it changes, so that If-Match may do so instead.
local function is_versioned(route)
  local body = bare(route.shapes and route.shapes.body)
  local version = body and body.fields and body.fields.version
  return version and version.optional or false
end

local function has(list, wanted)
  for _, value in ipairs(list or {}) do
    if value == wanted then
      return true
    end
  end
  return false
end

--- "getOrdersById" of GET /api/v1/orders/:id.
---@param method string
---@param path string
---@return string
function openapi_operation.id(method, path)
  local words = path:gsub("^/api/v%d+", ""):gsub(":", "by/")
  words = words:gsub("[^%w]+(%w?)", string.upper)
  return method:lower() .. words:gsub("[^%w]", "")
end

local function parameter(place, name, required, schema, description)
  return {
    ["in"] = place, name = name, required = required, schema = schema,
    description = description,
  }
end

local function path_parameters(list, route, schemas)
  local known = bare(route.shapes and route.shapes.path)
  for name in route.path:gmatch(":([%w_]+)") do
    local field = known and known.fields and known.fields[name]
    local schema = field and schemas:write(field, name)
    schema = schema or { type = "string", minLength = 1 }
    list[#list + 1] = parameter("path", name, true, schema)
  end
end

local function query_parameters(list, route, schemas)
  local query = bare(route.shapes and route.shapes.query)
  for _, name in ipairs(query and query.names or {}) do
    local field = query.fields[name]
    local schema = schemas:write(field, name)
    list[#list + 1] = parameter("query", name, not field.optional, schema)
  end
end

local function parameters(route, schemas)
  local list = json.array {}
  path_parameters(list, route, schemas)
  query_parameters(list, route, schemas)
  if route.once_by then
    list[#list + 1] = parameter("header", admit.header_name(route.once_by), true,
      { type = "string", minLength = 1, maxLength = 200, pattern = "^[!-~]+$" },
      "The same key again gets the same answer; nothing happens twice")
  end
  if is_versioned(route) then
    local schema = { type = "string", pattern = etag_pattern }
    list[#list + 1] = parameter("header", "If-Match", false, schema,
      "The ETag that was seen; or the member version of the body")
  end
  if has(route.faults, 304) then
    list[#list + 1] = parameter("header", "If-None-Match", false,
      { type = "string" }, "ETags that are known already")
  end
  return list
end

local function request_body(route, schemas)
  local body = route.shapes and route.shapes.body
  if body then
    local name = openapi_operation.id(route.method, route.path) .. "Body"
    local schema = schemas:write(body, name:gsub("^%l", string.upper))
    return { required = not body.optional, content = { ["application/json"] = {
      schema = schema,
    } } }
  end
end

-- The ways to say who one is, of which one will do.
local function security(route)
  local ways = json.array {}
  if route.auth then
    ways[1] = { bearer = json.array {} }
  end
  if route.token then
    ways[2] = { [route.token] = json.array {} }
  end
  return ways
end

--- The operation that a route is.
---@param route table an entry of service.routes
---@param schemas schemas
---@param tag string
---@return table
function openapi_operation.of(route, schemas, tag)
  local list, auth = parameters(route, schemas), route.auth
  local tagged = is_versioned(route) or has(route.faults, 304)
  local roles = type(auth) == "table" and auth or nil
  return {
    operationId = openapi_operation.id(route.method, route.path),
    summary = route.summary,
    tags = json.array { tag },
    parameters = list[1] and list or nil,
    requestBody = request_body(route, schemas),
    responses = openapi_answers.of(route, schemas, tagged),
    security = security(route),
    ["x-roles"] = roles and json.array { unpack(roles) } or nil,
  }
end

return openapi_operation
