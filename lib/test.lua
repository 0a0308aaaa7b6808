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
-- put back after each case.
local fault = require "fault"
local json = require "json"
local jwt = require "jwt"

local test = {}

local cases, replaced = {}, {}
local secret = "a secret for tests, and for nothing else"

--- Registers a case. The name is a claim in plain words.
---@param name string
---@param fn function
function test.case(name, fn)
  table.insert(cases, {
    name = name,
    fn = function()
      local ok, why = pcall(fn)
      while #replaced > 0 do
        local change = table.remove(replaced)
        change.target[change.name] = change.old
      end
      if not ok then
        error(why, 0)
      end
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
  require("native.test").folder(name)
  return require "service"
end

--- Puts something else in a module's place until the case ends.
---@param target table
---@param name string
---@param value any
function test.replace(target, name, value)
  table.insert(replaced, { target = target, name = name, old = target[name] })
  target[name] = value
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

local function segments(path)
  local list = {}
  for segment in path:gmatch("[^/]+") do
    list[#list + 1] = segment
  end
  return list
end

local function match(template, path)
  local want, have, found = segments(template), segments(path), {}
  if #want ~= #have then
    return nil
  end
  for i, segment in ipairs(want) do
    if segment:sub(1, 1) == ":" then
      found[segment:sub(2)] = have[i]
    elseif segment ~= have[i] then
      return nil
    end
  end
  return found
end

-- The value as it would be after a trip over the wire.
local function wire(value)
  return value ~= nil and json.decode(json.encode(value)) or nil
end

-- Runs the handler the way the host does: what it returns or raises becomes an answer.
local function answer(route, req)
  local ok, status, body, headers = pcall(route.handler, req)
  if not ok and not fault.is(status) then
    error(status, 0)
  elseif not ok or fault.is(status) then
    status, body, headers = fault.problem(status)
  elseif status == nil and fault.is(body) then
    status, body, headers = fault.problem(body)
  end
  return { status = status, body = wire(body), headers = headers or {} }
end

--- Calls a route. `user` holds the claims of a bearer token that is made and sent.
---@param service service
---@param line string "POST /api/v1/orders"
---@param options? {body: any, headers: table, query: table, user: table}
---@return {status: integer, body: any, headers: table}
function test.call(service, line, options)
  options = options or {}
  local method, path = line:match("^(%u+) (/.*)$")
  for _, route in ipairs(service.routes) do
    local found = route.method == method and match(route.path, path)
    if found then
      local headers = {}
      for name, value in pairs(options.headers or {}) do
        headers[name:lower()] = value
      end
      test.replace(jwt, "secret", function() return secret end)
      if options.user then
        headers.authorization = "Bearer " .. jwt.sign(options.user, 60)
      end
      local body = wire(options.body)
      return answer(route, {
        method = method, path = found, query = options.query or {}, headers = headers,
        body = body, raw = body and json.encode(body) or "", route = route.path,
      })
    end
  end
  error("no route for " .. line, 2)
end

return test
