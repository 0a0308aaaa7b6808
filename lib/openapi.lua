-- What a service offers as an OpenAPI 3.1 document, made of its routes and their shapes.
-- Every service answers GET /openapi.json with it.
--
-- It is made when it is first asked for, once per generation and worker; only its text is
-- kept. Beside the service's own routes it has those that the host answers.
local answers = require "answers"
local conf = require "conf"
local crypto = require "crypto"
local json = require "json"
local json_schema = require "json_schema"
local openapi_answers = require "openapi_answers"
local openapi_operation = require "openapi_operation"
local shape = require "shape"

local openapi = {}

local path = "/openapi.json"

local rejected = shape.object({
  field = shape.text(0, 1000), message = shape.text(1, 1000),
}, "drop")

-- RFC 9457, as base/problem.c and lib/fault.lua write it.
local problem = shape.object({
  type = shape.one_of { "about:blank" },
  title = shape.text(1, 100),
  status = shape.integer(400, 599),
  kind = shape.one_of {
    "bad_input", "broken", "denied", "internal", "limit", "missing", "refused", "timeout",
    "unavailable", "uncertain",
  },
  detail = shape.text(0, 1000),
  trace_id = shape.optional(shape.text(32, 32, "^[0-9a-f]+$")),
  errors = shape.optional(shape.list(rejected, 1, 100)),
}, "drop")

-- What the host answers by itself: core/host/admin.c.
local ready = shape.object {
  status = shape.one_of { "ready", "unready", "draining" },
  dependencies = shape.list(shape.object {
    name = shape.one_of { "postgres", "redis", "rabbitmq" },
    status = shape.one_of { "up", "down" },
    kind = shape.optional(shape.text(1, 20)),
    detail = shape.optional(shape.text(0, 1000)),
  }, 0, 3),
  generation = shape.optional(shape.object({
    number = shape.integer(1, 2 ^ 53), loaded_at = shape.time,
  }, "drop")),
}
local of_metrics = { "text/plain", "application/openmetrics-text" }

local function host_route(at, summary, list, content)
  return {
    method = "GET", path = at, summary = summary, answers = list, content = content,
    by_host = true,
  }
end

local function host_routes()
  local metrics = { [200] = shape.text(0, 2 ^ 31) }
  local list = {
    host_route("/health", "Whether the process lives",
      { [200] = shape.object { status = shape.one_of { "ok" } } }),
    host_route("/ready", "Whether it can serve, and what it depends on",
      { [200] = ready, [503] = ready }),
    host_route("/metrics", "Its series, for Prometheus", metrics, of_metrics),
    {
      method = "GET", path = path, summary = "This document", faults = { 304 },
      answers = { [200] = shape.map(shape.any) },
    },
  }
  if conf.get("dialect") == "micrometer" then
    list[#list + 1] = host_route("/actuator/prometheus",
      "Its series, where Spring has them", metrics, of_metrics)
  end
  return list
end

local function of_socket(socket)
  return {
    method = "GET", path = socket.path, summary = socket.summary,
    auth = socket.token and "bearer", token = socket.token, answers = { [101] = false },
    faults = { 400, 401, 403, 426, unpack(socket.faults or {}) },
  }
end

-- Every route with the tag it stands under: the service's own, its sockets, the host's.
local function all_routes(service)
  local list = {}
  for _, route in ipairs(service.routes) do
    if not route.hidden and not route.admin then
      list[#list + 1] = { route, service.name }
    end
  end
  for _, socket in ipairs(service.sockets) do
    list[#list + 1] = { of_socket(socket), service.name }
  end
  for _, route in ipairs(host_routes()) do
    list[#list + 1] = { route, "host" }
  end
  return list
end

local function count(schemas, route)
  for _, body in pairs(route.answers or {}) do
    if body then
      schemas:count(body)
    end
  end
  if route.shapes and route.shapes.body then
    schemas:count(route.shapes.body)
  end
end

local function make_unique(made, known)
  local id, number = made.operationId, 2
  while known[made.operationId] do
    made.operationId, number = id .. number, number + 1
  end
  known[made.operationId] = true
end

-- One answer per status of faults, which all operations share.
local function add_faults(responses, route)
  for _, status in ipairs(answers.faults(route)) do
    local name = "Fault" .. status
    responses[name] = responses[name] or openapi_answers.fault(status)
  end
end

-- How one may say who one is; with a WebSocket in the query too.
local function schemes(service)
  local list = { bearer = { type = "http", scheme = "bearer", bearerFormat = "JWT" } }
  for _, socket in ipairs(service.sockets) do
    if socket.token then
      list[socket.token] = { type = "apiKey", ["in"] = "query", name = socket.token }
    end
  end
  return list
end

--- The document.
---@param service service
---@return table
function openapi.document(service)
  local schemas, listed = json_schema.new(), all_routes(service)
  local paths, responses, known = {}, {}, {}
  for _, entry in ipairs(listed) do
    count(schemas, entry[1])
  end
  for _, entry in ipairs(listed) do
    local route = entry[1]
    local at = route.path:gsub(":([%w_]+)", "{%1}")
    local made = openapi_operation.of(route, schemas, entry[2])
    make_unique(made, known)
    add_faults(responses, route)
    paths[at] = paths[at] or {}
    paths[at][route.method:lower()] = made
  end
  schemas.components.Problem = schemas:write(problem, "Problem")
  return {
    openapi = "3.1.0",
    info = { title = service.name, version = "1" },
    servers = json.array { { url = "/" } },
    tags = json.array { { name = service.name }, { name = "host" } },
    paths = paths,
    components = {
      schemas = schemas.components, responses = responses,
      securitySchemes = schemes(service),
    },
  }
end

--- The route that answers with the document, for app.service.
---@param service service
---@return table an entry of service.routes
function openapi.route(service)
  local text, headers
  local function answer(req)
    if not text then
      text = json.encode(openapi.document(service))
      headers = {
        ["Content-Type"] = "application/json",
        ETag = '"' .. crypto.fingerprint(text):sub(1, 32) .. '"',
      }
    end
    if req.headers["if-none-match"] == headers.ETag then
      return 304, nil, headers
    end
    return 200, text, headers
  end
  return {
    method = "GET", path = path, auth = false, hidden = true, author = answer,
    shapes = {}, handler = answer,
  }
end

return openapi
