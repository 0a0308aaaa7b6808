-- What a service is: routes, jobs, consumers and sockets, in a table that the host reads.
--
--   local app = require "app"
--   local s = app.service("orders", { auth = "bearer" })
--   s:post("/api/v1/orders", { body = order, once_by = "idempotency-key" }, function(req)
--     return 201, { id = 1 }
--   end)
--   return s
--
-- A handler sees a request only after its credentials and its input were checked. It
-- returns status, body[, headers], or a fault, or nil, why. It has until the service's
-- task_timeout_ms, or the caller's x-envoy-expected-rq-timeout-ms where that is less.
local fault = require "fault"
local jwt = require "jwt"
local shape = require "shape"
local native = require "native.job"

local app = {}

---@class request
---@field method string
---@field path table    parameters of the path: req.path.id
---@field query table
---@field headers table lower-case names
---@field body any      decoded JSON
---@field raw string    the body's bytes
---@field route string  the template, "/api/v1/orders/:id"
---@field user? claims  who is asking, when the route wants to know
---@field once_key? string the header named by once_by

---@class options
---@field auth? false|"bearer"|string[] a list names the roles that may pass
---@field body? shape
---@field query? shape
---@field path? shape
---@field once_by? string a header that has to be there, such as "idempotency-key"

---@class service
local service = {}
local of_service = { __index = service, __metatable = false }

-- Who is asking: nothing to say, or why not.
local function check_user(req, auth)
  local user, why = jwt.of_request(req)
  if not user then
    return why
  end
  req.user = user
  if type(auth) == "table" then
    for _, role in ipairs(auth) do
      if user.role == role then
        return nil
      end
    end
    return fault.new("denied", "this needs another role", { status = 403 })
  end
end

-- "idempotency-key" as people write it.
local function header_name(name)
  return (name:gsub("^%a", string.upper):gsub("%-%a", string.upper))
end

local function check_part(req, part, expected, errors)
  if expected then
    local value, found = shape.check(expected, req[part], part ~= "body")
    req[part] = value
    for _, problem in ipairs(found or {}) do
      errors[#errors + 1] = problem
    end
  end
end

-- Everything that is wrong with the input, at once.
local function check_input(req, options)
  local errors = {}
  check_part(req, "path", options.path, errors)
  check_part(req, "query", options.query, errors)
  if options.once_by then
    req.once_key = req.headers[options.once_by]
    if not req.once_key or not req.once_key:find("^[%w%p]+$") or #req.once_key > 200 then
      errors[#errors + 1] = {
        field = header_name(options.once_by),
        message = "is a required header of 1 to 200 visible characters",
      }
    end
  end
  check_part(req, "body", options.body, errors)
  if #errors > 0 then
    return app.rejected(errors)
  end
end

--- The fault for rejected fields, for checks that no shape can make.
---@param errors {field: string, message: string}[]
---@return fault
function app.rejected(errors)
  local first = errors[1]
  local detail = first.field .. " " .. first.message
  if #errors > 1 then
    detail = ("%s (and %d more)"):format(detail, #errors - 1)
  end
  return fault.new("bad_input", detail, { errors = errors })
end

local function add_route(self, method, path, options, fn)
  if fn == nil then
    options, fn = {}, options
  end
  if type(path) ~= "string" or path:sub(1, 1) ~= "/" or type(fn) ~= "function" then
    error("a route is a path, perhaps options, and a function", 3)
  end
  local auth = options.auth
  if auth == nil then
    auth = self.auth
  end
  table.insert(self.routes, {
    method = method,
    path = path,
    auth = auth, once_by = options.once_by, -- these and the shapes: for descriptions
    shapes = { path = options.path, query = options.query, body = options.body },
    author = fn, -- whose place in the source the host names
    handler = function(req)
      local why = auth and check_user(req, auth) or check_input(req, options)
      if why then
        return why
      end
      return fn(req)
    end,
  })
end

for _, method in ipairs { "GET", "POST", "PUT", "PATCH", "DELETE" } do
  --- s:get(path, [options,] fn), and so on.
  ---@param path string with :name segments
  ---@param options options|function
  ---@param fn? fun(req: request): integer|fault, any, table?
  service[method:lower()] = function(self, path, options, fn)
    add_route(self, method, path, options, fn)
  end
end

local job = {}
local of_job = { __index = job, __metatable = false }

--- Has the job run soon, instead of when its time comes. Calls add up to one run.
function job:wake()
  native.wake(self.name)
end

--- Runs fn every so many seconds, on one worker of the process, never twice at once.
---@param name string
---@param seconds number
---@param fn function
---@return table job
function service:every(name, seconds, fn)
  local entry = setmetatable({ name = name, every_s = seconds, handler = fn }, of_job)
  table.insert(self.jobs, entry)
  return entry
end

--- Takes messages from a queue bound to the routing keys. Returning acknowledges; a
--- raised fault has the message delivered again later, bad_input sets it aside at once.
---@param queue string
---@param options {bind: string[], prefetch: integer}
---@param fn fun(message: table)
function service:consume(queue, options, fn)
  table.insert(self.consumers, {
    queue = queue, bind = options.bind, prefetch = options.prefetch or 16, handler = fn,
  })
end

--- A WebSocket. accept(req) gives {channels = {...}} or a fault.
---@param path string
---@param handlers {accept: function, open: function, message: function, close: function}
function service:ws(path, handlers)
  table.insert(self.sockets, {
    path = path, accept = handlers.accept, open = handlers.open,
    message = handlers.message, close = handlers.close,
  })
end

--- A new, empty service.
---@param name string
---@param options? {auth: false|"bearer"|string[]} for routes that do not say otherwise
---@return service
function app.service(name, options)
  return setmetatable({
    name = name, auth = options and options.auth or false,
    routes = {}, jobs = {}, consumers = {}, sockets = {},
  }, of_service)
end

return app
