-- The answers of a route in the words of OpenAPI: for lib/openapi_operation.lua.
local answers = require "answers"
local json_schema = require "json_schema"

local openapi_answers = {}

local reasons = {
  [101] = "Switching Protocols", [200] = "OK", [201] = "Created",
  [202] = "Accepted", [204] = "No Content", [304] = "Not Modified",
  [400] = "Bad Request", [401] = "Unauthorized",
  [402] = "Payment Required", [403] = "Forbidden", [404] = "Not Found",
  [409] = "Conflict", [410] = "Gone", [412] = "Precondition Failed",
  [413] = "Content Too Large", [415] = "Unsupported Media Type",
  [422] = "Unprocessable Content", [426] = "Upgrade Required",
  [428] = "Precondition Required", [429] = "Too Many Requests",
  [500] = "Internal Server Error", [502] = "Bad Gateway", [503] = "Service Unavailable",
  [504] = "Gateway Timeout",
}

local function header(description, schema)
  return { description = description, schema = schema }
end

local headers_of = {
  ETag = header("The version of what is shown", { type = "string" }),
  Location = header("Where it is, if it has an address",
    { type = "string", format = "uri-reference" }),
  ["Retry-After"] = header("Seconds to wait", { type = "string", pattern = "^[0-9]+$" }),
  ["WWW-Authenticate"] = header("How to authenticate", { type = "string" }),
}

local function ref(name)
  return { ["$ref"] = name }
end

--- What the things of a path are called: "Order" of "/api/v1/orders/:id".
---@param path string
---@return string
function openapi_answers.resource(path)
  local first, last
  for segment in path:gmatch("[^/]+") do
    if not segment:find("^:") and segment ~= "api" and not segment:find("^v%d+$") then
      first, last = first or segment, segment
    end
  end
  local plural = last and last:find("s$") and last
  return json_schema.name("", plural or first or "root")
end

-- What shows its version says it as ETag too: after a POST as after a GET.
local function is_versioned(shape)
  return shape and shape.fields and shape.fields.version ~= nil
end

local function headers(status, tagged)
  local list = {
    Location = status == 201 and headers_of.Location or nil,
    ETag = tagged and headers_of.ETag or nil,
  }
  return next(list) and list or nil
end

local function content(route, shape, schemas)
  local schema = schemas:write(shape, openapi_answers.resource(route.path))
  local made = {}
  for _, kind in ipairs(route.content or { "application/json" }) do
    made[kind] = { schema = schema }
  end
  return made
end

local function problem()
  local schema = ref "#/components/schemas/Problem"
  return { ["application/problem+json"] = { schema = schema } }
end

--- The answer that stands for every fault of a status.
---@param status integer
---@return table
function openapi_answers.fault(status)
  local with = {}
  if status == 401 then
    with["WWW-Authenticate"] = headers_of["WWW-Authenticate"]
  elseif status == 304 then
    with.ETag = headers_of.ETag
  elseif status == 409 or status == 429 or status == 503 then
    with["Retry-After"] = headers_of["Retry-After"]
  end
  return {
    description = reasons[status] or "A failure",
    headers = next(with) and with or nil,
    content = status >= 400 and problem() or nil,
  }
end

-- The same document every time: components are named in the order they are seen.
local function growing(of_status)
  local list = {}
  for status in pairs(of_status) do
    list[#list + 1] = status
  end
  table.sort(list)
  return list
end

--- Every answer by its status.
---@param route table an entry of service.routes
---@param schemas schemas
---@param tagged boolean whether what it shows carries an ETag
---@return table<string, table>
function openapi_answers.of(route, schemas, tagged)
  local list = {}
  for _, status in ipairs(answers.faults(route)) do
    list[tostring(status)] = ref("#/components/responses/Fault" .. status)
  end
  for _, status in ipairs(growing(route.answers or {})) do
    local key, shape = tostring(status), route.answers[status]
    local made = shape and content(route, shape, schemas) or nil
    if made and list[key] then
      made["application/problem+json"] = problem()["application/problem+json"]
    end
    list[key] = {
      description = reasons[status] or "An answer", content = made,
      headers = headers(status, tagged or is_versioned(shape)),
    }
  end
  if not route.answers then
    list["2XX"] = { description = "An answer that the service does not describe" }
  end
  return list
end

return openapi_answers
