-- What a service offers, for people and for machines: `orrery routes` prints it.
local gate_describe = require "gate_describe"
local json = require "json"

local describe = {}

-- What a leaf expects is written for the caller who broke it; here it is shorter.
local shorter = {
  { "^text of (%d+) to (%d+) characters$", "text %1..%2" },
  { "^a whole number from (%-?%d+) to (%-?%d+)$", "integer %1..%2" },
  { "^a number$", "number" },
  { "^true or false$", "boolean" },
  { "^a UUID$", "uuid" },
  { "^a time as in RFC 3339$", "time" },
  { "^one of (.*)$", "%1" },
}

local function leaf(expected)
  for _, rule in ipairs(shorter) do
    local short, found = expected:gsub(rule[1], rule[2])
    if found > 0 then
      return (short:gsub(", ", " | "))
    end
  end
  return expected
end

local function object(shape)
  local parts = {}
  for i, name in ipairs(shape.names) do
    local field = shape.fields[name]
    local mark = field.optional and "?" or ""
    parts[i] = ("%s%s: %s"):format(name, mark, describe.shape(field))
  end
  if shape.open then
    parts[#parts + 1] = "..."
  end
  return "{" .. table.concat(parts, ", ") .. "}"
end

--- What a shape takes, in one line: {note?: text 0..80, sku: text 1..32}.
---@param shape shape
---@return string
function describe.shape(shape)
  if shape.example ~= nil then
    return describe.shape(shape.inner)
  elseif shape.inner then
    local inner = describe.shape(shape.inner)
    return shape.default == nil and inner or inner .. " = " .. tostring(shape.default)
  elseif shape.fields then
    return object(shape)
  elseif shape.item then
    return ("[%s] %d..%d"):format(describe.shape(shape.item), shape.min, shape.max)
  elseif shape.values then
    return "{any: " .. describe.shape(shape.values) .. "}"
  elseif shape.expected then
    return leaf(shape.expected)
  end
  return shape.optional and "anything" or "what its code accepts"
end

local function route(entry)
  local shapes = {}
  for part, expected in pairs(entry.shapes or {}) do
    shapes[part] = describe.shape(expected)
  end
  local auth = entry.auth or nil
  return {
    method = entry.method,
    path = entry.path,
    auth = type(auth) == "table" and json.array { unpack(auth) } or auth,
    admin = entry.admin,
    once_by = entry.once_by,
    shapes = next(shapes) and shapes or nil,
  }
end

-- What every service has by itself is not told.
local function each(list, fn)
  local made = json.array {}
  for _, entry in ipairs(list or {}) do
    if not entry.hidden then
      made[#made + 1] = fn(entry)
    end
  end
  return made
end

--- A service as plain values, which JSON can hold.
---@param service service
---@return table
function describe.service(service)
  return {
    service = service.name,
    routes = each(service.routes, route),
    sockets = each(service.sockets, function(socket)
      return { path = socket.path }
    end),
    consumers = each(service.consumers, function(consumer)
      return {
        queue = consumer.queue,
        bind = json.array { unpack(consumer.bind or {}) },
        prefetch = consumer.prefetch,
      }
    end),
    jobs = each(service.jobs, function(job)
      return { name = job.name, every_s = job.every_s }
    end),
    forwarded = service.gate and gate_describe.of(service.gate),
  }
end

local function route_lines(lines, entry)
  local marks = {}
  if type(entry.auth) == "table" then
    marks[1] = "auth " .. table.concat(entry.auth, " or ")
  elseif entry.auth then
    marks[1] = "auth " .. entry.auth
  end
  if entry.admin then
    marks[#marks + 1] = "admin"
  end
  if entry.once_by then
    marks[#marks + 1] = "once by " .. entry.once_by
  end
  local mark = #marks > 0 and "  (" .. table.concat(marks, ", ") .. ")" or ""
  table.insert(lines, ("  %-6s %s%s"):format(entry.method, entry.path, mark))
  for _, part in ipairs { "path", "query", "body" } do
    if entry.shapes and entry.shapes[part] then
      table.insert(lines, ("         %-5s %s"):format(part, entry.shapes[part]))
    end
  end
end

local function add_list(lines, title, list, line)
  if #list > 0 then
    table.insert(lines, title)
  end
  for _, entry in ipairs(list) do
    table.insert(lines, "  " .. line(entry))
  end
end

--- The same as lines of text.
---@param service service
---@return string
function describe.text(service)
  local plain = describe.service(service)
  local lines = { plain.service, "routes" }
  for _, entry in ipairs(plain.routes) do
    route_lines(lines, entry)
  end
  add_list(lines, "sockets", plain.sockets, function(socket)
    return "WS     " .. socket.path
  end)
  add_list(lines, "consumers", plain.consumers, function(consumer)
    return ("%s  of %s, prefetch %d"):format(
      consumer.queue, table.concat(consumer.bind, ", "), consumer.prefetch)
  end)
  add_list(lines, "jobs", plain.jobs, function(job)
    return ("%s  every %s s"):format(job.name, tostring(job.every_s))
  end)
  add_list(lines, "forwarded", plain.forwarded or {}, gate_describe.line)
  return table.concat(lines, "\n") .. "\n"
end

return describe
