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
-- Every service has one route more, GET /openapi.json, which tells of all the others.
local admit = require "admit"
local openapi = require "openapi"
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
---@field peer string   the client's address, "127.0.0.1" or "::1": what the setting
---  trusted_proxies has it from; empty when it is not known
---@field user? claims  who is asking, when the route wants to know
---@field once_key? string the header named by once_by
---@field target? string for a gateway's `before`: the path that is to be forwarded

---@class options
---@field auth? false|"bearer"|string[] a list names the roles that may pass
---@field body? shape
---@field query? shape
---@field path? shape
---@field once_by? string a header that has to be there, such as "idempotency-key"
---@field summary? string one short sentence without a full stop
---@field answers? table<integer, shape|false> the bodies of 2xx answers; false: no body
---@field admin? boolean for operators: with admin_port set it is on that port only, and
---  the OpenAPI document never has it
---@field faults? integer[] statuses beyond those that follow from the rest: 400, 413, 415
---  and 422 with a body; 422 with query, path or once_by; 401 with auth, 403 with a list
---  of roles; 500, 503, 504

---@class service
local service = {}
local of_service = { __index = service, __metatable = false }

--- The fault for rejected fields, for checks that no shape can make.
---@type fun(errors: {field: string, message: string}[]): fault
app.rejected = admit.rejected

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
    -- From here on for descriptions; and tests hold a route to its answers.
    auth = auth, admin = options.admin or nil, once_by = options.once_by,
    summary = options.summary, answers = options.answers, faults = options.faults,
    shapes = { path = options.path, query = options.query, body = options.body },
    author = fn, -- whose place in the source the host names
    handler = function(req)
      local why = auth and admit.user(req, auth) or admit.input(req, options)
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

--- A WebSocket. accept(req) gives {channels?, state?, expires_at?} or a fault. At
--- expires_at (seconds since 1970) the host closes the connection with 4001. `summary`
--- and `faults` are as with routes; 400, 401, 403 and 426 need not be named. `token` is
--- the member of the query that may hold what else is in the header Authorization.
---@param path string
---@param handlers {accept: function, open: function, message: function, close: function}
function service:ws(path, handlers)
  table.insert(self.sockets, {
    path = path, accept = handlers.accept, open = handlers.open,
    message = handlers.message, close = handlers.close,
    -- for descriptions
    summary = handlers.summary, faults = handlers.faults, token = handlers.token,
  })
end

--- A new service. It has one route already: GET /openapi.json.
---@param name string
---@param options? {auth: false|"bearer"|string[]} for routes that do not say otherwise
---@return service
function app.service(name, options)
  local self = setmetatable({
    name = name, auth = options and options.auth or false,
    routes = {}, jobs = {}, consumers = {}, sockets = {},
  }, of_service)
  self.routes[1] = openapi.route(self)
  return self
end

return app
