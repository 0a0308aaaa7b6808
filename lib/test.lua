-- Tests of libraries and of services, without a socket. A file looks like this:
--
--   local test = require "test"
--   local orders = test.service "oms/orders"
--   test.case("a negative quantity is refused", function()
--     local answer = test.call(orders, "POST /api/v1/orders", { user = demo, body = {} })
--     test.equal(answer.status, 422)
--   end)
--   return test.suite()
--
-- `orrery test FILE` runs every case as a task, so waits work. What `replace` changed is
-- put back before the next case. What a case has made the host record can be looked at:
--
--   local before = test.value("orders_received_total", { "held" })
--   test.call(orders, "POST /api/v1/orders", { user = demo, body = order })
--   test.equal(test.value("orders_received_total", { "held" }), before + 1)
--   test.equal(test.span("orders.insert").attributes.lines, 1)
--   test.equal(test.logs(), {})
local answers = require "answers"
local call = require "test_call"
local fault = require "fault"
local json = require "json"
local jwt = require "jwt"
local native = require "native.test"

local test = {}

local cases, replaced = {}, {}
local secret = "a secret for tests, and for nothing else"

-- What the case before has replaced. Not after it, so that errors keep their traceback.
local function put_back()
  while #replaced > 0 do
    local change = table.remove(replaced)
    native.patch(change.target, change.name, change.old)
  end
end

--- Registers a case. The name is a claim in plain words.
---@param name string
---@param fn function
function test.case(name, fn)
  table.insert(cases, {
    name = name,
    fn = function()
      put_back()
      return fn()
    end,
  })
end

--- What a test file returns.
---@return {name: string, fn: function}[]
function test.suite()
  return cases
end

--- Loads scripts/<name>/service.lua; its own modules can be required afterwards. Once a
--- file.
---@param name string "oms/orders"
---@return service
function test.service(name)
  native.folder(name)
  return require "service"
end

--- Puts something else in a module's place until the case ends.
---@param target table
---@param name string
---@param value any
function test.replace(target, name, value)
  table.insert(replaced, { target = target, name = name, old = target[name] })
  native.patch(target, name, value)
end

local function same(a, b)
  if type(a) ~= "table" or type(b) ~= "table" then
    return a == b
  end
  for name, value in pairs(a) do
    if not same(value, b[name]) then
      return false
    end
  end
  for name in pairs(b) do
    if a[name] == nil then
      return false
    end
  end
  return true
end

local function show(value)
  if type(value) == "string" then
    return ("%q"):format(value)
  elseif type(value) == "table" then
    local ok, text = pcall(json.encode, value)
    return ok and text or tostring(value)
  end
  return tostring(value)
end

--- Fails unless both are the same; tables are compared member by member.
---@param got any
---@param expected any
---@param about? string
function test.equal(got, expected, about)
  if not same(got, expected) then
    about = about and about .. ": " or ""
    error(("%sgot %s, expected %s"):format(about, show(got), show(expected)), 2)
  end
end

--- Fails unless the text matches the pattern.
---@param got string
---@param pattern string
function test.match(got, pattern)
  if type(got) ~= "string" or not got:find(pattern) then
    error(("%s does not match %s"):format(show(got), show(pattern)), 2)
  end
end

--- Fails unless fn raises, or returns as nil, why, a fault of the kind. Gives the fault.
---@param fn function
---@param kind string
---@return fault
function test.fails(fn, kind)
  local ok, result, why = pcall(fn)
  why = not ok and result or why
  if not fault.is(why) then
    error("expected " .. kind .. ", got " .. show(why or result), 2)
  elseif why.kind ~= kind then
    error(("expected %s, got %s: %s"):format(kind, why.kind, why.detail), 2)
  end
  return why
end

--- The spans that have ended in this case, in that order; a child ends before its parent.
---@type fun(): {name: string, kind: string, trace_id: string, span_id: string,
---  parent_span_id?: string, failed: boolean, error_type?: string, attributes: table}[]
test.spans = native.spans

--- The first span of that name that has ended in this case; fails when there is none.
---@param name string
---@return table
function test.span(name)
  local others = {}
  for _, span in ipairs(native.spans()) do
    if span.name == name then
      return span
    end
    others[#others + 1] = span.name
  end
  error(("no span %q has ended, only: %s"):format(name, table.concat(others, ", ")), 2)
end

--- What was logged in this case, of every severity ("debug", "info", "warn", "error").
---@type fun(): {severity: string, message: string, attributes: table, trace_id?: string,
---  span_id?: string}[]
test.logs = native.logs

--- The value of a series, with its label values in the order of their declaration; of a
--- histogram or summary the count. nil: there is no such series yet.
---@type fun(name: string, labels?: string[]): number?
test.value = native.value

--- Calls a route. `user` holds the claims of a bearer token that is made and sent. Fails
--- when a route that declares its answers gives another one.
---@param service service
---@param line string "POST /api/v1/orders"
---@param options? {body: any, headers: table, query: table, user: table, peer: string}
---  peer is "127.0.0.1" unless told
---@return {status: integer, body: any, headers: table}
function test.call(service, line, options)
  local headers = {}
  for name, value in pairs(options and options.headers or {}) do
    headers[name:lower()] = value
  end
  test.replace(jwt, "secret", function() return secret end)
  if options and options.user then
    headers.authorization = "Bearer " .. jwt.sign(options.user, 60)
  end
  local answer, route = call(service, line, headers, options or {})
  local why = not answer and "there is no such route" or answers.differs(route, answer)
  if why then
    error(line .. ": " .. why, 2)
  end
  return answer
end

return test
