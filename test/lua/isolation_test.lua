-- What a script tries in order to get out, or at others, and that it does not get there.
-- (test/lua/coroutine_test.lua has the attempts by coroutines; those that need a file, or
-- end in the host, are in test/unit/script.)
local app = require "app"
local conf = require "conf"
local db = require "db"
local fault = require "fault"
local http = require "http"
local json = require "json"
local jwt = require "jwt"
local log = require "log"
local metrics = require "metrics"
local shape = require "shape"
local task = require "task"
local template = require "template"
local test = require "test"
local trace = require "trace"

local native = {}
for _, name in ipairs { "amqp", "conf", "db", "fault", "http", "job", "json", "log",
                        "metrics", "redis", "stock", "task", "trace", "ws" } do
  native[name] = require("native." .. name)
end

-- The attempt raises, and says something like this.
local function refused(attempt, words)
  local ok, why = pcall(attempt)
  test.equal(ok, false, words)
  test.match(type(why) == "table" and why.detail or tostring(why), words)
end

local read_only = "this table is read%-only"
local expected = "table expected, got userdata"

-- A metatable that notes whenever it is asked anything.
local function spy()
  local asked = {}
  local metatable = { asked = asked }
  local events = "index newindex call tostring len eq lt le concat pairs ipairs unm"
  for word in events:gmatch("%a+") do
    local event = "__" .. word
    metatable[event] = function()
      table.insert(asked, event)
      error("asked by " .. event)
    end
  end
  return metatable
end

-- --- what is not there -----------------------------------------------------------------

-- A name is looked up as it stands: there is no other way to ask for one.
for name, ask in pairs {
  _G = function() return _G end,
  collectgarbage = function() return collectgarbage end,
  debug = function() return debug end,
  dofile = function() return dofile end,
  ffi = function() return ffi end,
  gcinfo = function() return gcinfo end,
  getfenv = function() return getfenv end,
  io = function() return io end,
  jit = function() return jit end,
  load = function() return load end,
  loadfile = function() return loadfile end,
  loadstring = function() return loadstring end,
  module = function() return module end,
  newproxy = function() return newproxy end,
  os = function() return os end,
  package = function() return package end,
  setfenv = function() return setfenv end,
} do
  test.case("there is no " .. name, function()
    refused(ask, "unknown global '" .. name .. "'")
    refused(function() require(name:lower()) end, "not found")
  end)
end

test.case("functions cannot be turned into bytecode", function()
  test.equal(string.dump, nil)
  test.equal((("").dump), nil)
end)

test.case("chance is not shared: there is no math.random and no seed to set", function()
  test.equal(math.random, nil)
  test.equal(math.randomseed, nil)
end)

-- --- the environment -------------------------------------------------------------------

test.case("a script cannot make a global, nor replace a builtin", function()
  refused(function() leaked = 1 end, "assignment to undeclared global 'leaked'")
  refused(function() pairs = nil end, "assignment to undeclared global 'pairs'")
  refused(function() string = {} end, "assignment to undeclared global 'string'")
  refused(function() function tostring() end end, "undeclared global 'tostring'")
  refused(function() return leaked end, "unknown global 'leaked'")
end)

test.case("levels of error and pcall give nobody's environment away", function()
  for level = 0, 40 do
    local ok, why = pcall(error, "x", level)
    test.equal(ok, false)
    test.equal(type(why), "string")
  end
  local count
  xpcall(function() error {} end, function(...) count = select("#", ...) end)
  test.equal(count, 1)
  test.equal({ pcall(pcall) }, { false, "bad argument #1 to '?' (value expected)" })
  test.equal((xpcall()), false)
end)

-- --- views -----------------------------------------------------------------------------

test.case("no library of the language can be changed", function()
  for _, library in ipairs { bit, coroutine, math, string, table } do
    refused(function() library.new = 1 end, read_only)
    for name in pairs(library) do
      refused(function() library[name] = nil end, read_only)
    end
  end
end)

test.case("no module of lib/ can be changed, for this task or another", function()
  local modules = { app, conf, db, fault, http, json, jwt, log, metrics, shape, task,
                    template, trace }
  for _, module in ipairs(modules) do
    for name in pairs(module) do
      refused(function() module[name] = function() end end, read_only)
    end
    refused(function() module.more = 1 end, "tried to set 'more'")
  end
  task.all { function() test.equal(fault.status { kind = "missing" }, 404) end }
end)

test.case("no native module can be changed", function()
  for _, module in pairs(native) do
    for name in pairs(module) do
      refused(function() module[name] = nil end, read_only)
    end
  end
end)

test.case("tables inside a module are as closed as the module", function()
  refused(function() shape.uuid.check = function(value) return value end end, read_only)
  refused(function() shape.any.optional = false end, read_only)
  refused(function() rawset(shape.number, "check", nil) end, expected)
end)

test.case("a shape that a route uses cannot be opened through the route", function()
  local s = app.service "sample"
  s:post("/", { body = shape.uuid }, function() return 200, {} end)
  refused(function() s.routes[2].shapes.body.check = function() end end, read_only)
  test.equal(test.call(s, "POST /", { body = "no uuid" }).status, 422)
end)

test.case("rawset does not reach behind a view", function()
  refused(function() rawset(string, "upper", nil) end, expected)
  refused(function() rawset(fault, "new", nil) end, expected)
  refused(function() rawset(native.db, "query", nil) end, expected)
end)

test.case("rawget and next do not look behind a view", function()
  refused(function() rawget(string, "upper") end, expected)
  refused(function() next(string) end, expected)
  refused(function() next(fault, "new") end, expected)
end)

test.case("table.insert, remove, sort and move do not take a view", function()
  refused(function() table.insert(string, 1) end, expected)
  refused(function() table.insert(string, 1, 1) end, expected)
  refused(function() table.remove(string) end, expected)
  refused(function() table.sort(string) end, expected)
  refused(function() table.move({ 1 }, 1, 1, 1, string) end, "table expected")
  refused(function() table.foreach(string, tostring) end, "table expected")
end)

test.case("concat and unpack do not take a view", function()
  refused(function() table.concat(string) end, expected)
  refused(function() unpack(string) end, expected)
end)

test.case("a view has no metatable to be had, and takes none", function()
  for _, view in ipairs { string, fault, native.db, shape.uuid } do
    test.equal(getmetatable(view), false)
    refused(function() setmetatable(view, {}) end, expected)
  end
end)

test.case("pairs over a view gives nothing that can be written", function()
  local step, state, first = pairs(string)
  test.equal(state, string)
  test.equal(first, nil)
  refused(function() state.upper = nil end, read_only)
  refused(function() step(state, "no such name") end, "invalid key to 'next'")
  refused(function() step({ mine = 1 }, "mine") end, "invalid key to 'next'")
end)

test.case("a metatable in front of a view changes the view for nobody", function()
  local mine = setmetatable({}, { __index = string, __newindex = string })
  test.equal(mine.upper("a"), "A")
  refused(function() mine.upper = nil end, read_only)
  test.equal(("a"):upper(), "A")
end)

-- --- strings, numbers and other values -------------------------------------------------

test.case("the metatable of strings is not to be had", function()
  test.equal(getmetatable(""), false)
  refused(function() setmetatable("", {}) end, "table expected, got string")
  test.equal((("").__index), nil)
  test.equal((("").__metatable), nil)
end)

test.case("methods of strings cannot be replaced", function()
  refused(function() string.upper = function() return "poisoned" end end, read_only)
  refused(function() local s = "x" s.upper = nil end, "attempt to index")
  refused(function() ("").upper = nil end, "attempt to index")
  task.all { function() test.equal(("a"):upper(), "A") end }
end)

test.case("numbers, booleans, functions and nil cannot be given a metatable", function()
  for _, value in ipairs { 1, true, tostring, native.json.null } do
    refused(function() setmetatable(value, {}) end, "table expected")
  end
  refused(function() setmetatable(nil, {}) end, "table expected")
  refused(function() setmetatable(coroutine.create(tostring), {}) end, "table expected")
end)

test.case("an address is all that tostring tells", function()
  test.match(tostring({}), "^table: 0x%x+$")
  test.match(tostring(string), "^userdata: 0x%x+$")
  test.match(tostring(refused), "^function: 0x%x+$")
end)

-- --- require ---------------------------------------------------------------------------

for name, attempt in pairs {
  ["the folder above"] = "../conf/oms", ["a path"] = "native/db",
  ["an absolute path"] = "/etc/passwd", ["an empty segment"] = "native..db",
  ["a NUL"] = "fault\0.lua", ["an escape"] = "%2e%2e/x", ["nothing"] = "",
  ["a dot in front"] = ".fault", ["a dot behind"] = "fault.", ["upper case"] = "Fault",
  ["a line end"] = "fault\n", ["a long name"] = ("a"):rep(5000),
} do
  test.case("require takes no name with " .. name, function()
    refused(function() require(attempt) end, "bad module name")
  end)
end

test.case("require finds no file in place of a native module", function()
  refused(function() require "native.nothing" end, "module 'native.nothing' not found")
  refused(function() require "native" end, "not found")
end)

test.case("require is not led on by an object that would be text", function()
  local name = setmetatable({}, { __tostring = function() return "fault" end })
  refused(function() require(name) end, "string expected, got table")
end)

test.case("what require gave once it gives to everybody", function()
  test.equal(rawequal(require "fault", fault), true)
  task.all { function() test.equal(rawequal(require "fault", fault), true) end }
end)

-- --- objects ---------------------------------------------------------------------------

test.case("the class of services and jobs is out of reach", function()
  local s = app.service "sample"
  local job = s:every("j", 1, function() end)
  for _, object in ipairs { s, job } do
    test.equal(getmetatable(object), false)
    test.equal(object.__index, nil)
    refused(function() setmetatable(object, {}) end, "protected metatable")
  end
  s.get = nil
  s.every = function() return "mine" end
  local other = app.service "other"
  test.equal(type(other:every("j", 1, refused)), "table")
  test.equal(type(other.get), "function")
end)

test.case("the class of transactions is out of reach", function()
  local handle = { query = function() return {} end, commit = function() end }
  test.replace(db, "begin", function() return handle end)
  db.tx(function(tx)
    test.equal(getmetatable(tx), false)
    test.equal(tx.__index, nil)
    refused(function() setmetatable(tx, nil) end, "protected metatable")
    tx.query = function() return nil, "mine" end
    return true
  end)
  db.tx(function(tx)
    test.equal(tx:query "select", {})
    return true
  end)
end)

test.case("a fault's metatable cannot be had, lent or taken off", function()
  local why = fault.new("missing", "gone")
  test.equal(getmetatable(why), false)
  refused(function() setmetatable(why, {}) end, "protected metatable")
  refused(function() setmetatable({}, getmetatable(why)) end, "nil or table expected")
end)

test.case("methods take their own kind of object only", function()
  local counter = metrics.counter("isolation_sample_total", "Sample.")
  local gauge = metrics.gauge("isolation_things", "Sample.")
  refused(function() counter.inc(gauge) end, "counter expected")
  refused(function() gauge.set(counter, 1) end, "gauge expected")
  refused(function() counter.inc(string) end, "counter expected")
  refused(function() counter.inc(native.json.null) end, "counter expected")
  refused(function() counter.inc({}) end, "counter expected")
  refused(function() counter.inc(coroutine.create(refused)) end, "counter expected")
  refused(function() setmetatable(counter, {}) end, expected)
  test.equal(getmetatable(counter), false)
  refused(function() counter.value = 5 end, "attempt to index")
end)

test.case("a table is no array because it says so", function()
  local array = json.array {}
  test.equal(getmetatable(array), false)
  refused(function() setmetatable(array, {}) end, "protected metatable")
  refused(function() json.array(fault.new("missing", "x")) end, "cannot be marked")
  refused(function() json.array(shape) end, expected)
  test.equal(json.is_array(setmetatable({}, { __index = array })), false)
end)

-- --- one request and another -----------------------------------------------------------

test.case("what a handler does to its request, the next one does not see", function()
  local seen = {}
  local s = app.service "sample"
  s:post("/a/:id", { body = shape.object { name = shape.any } }, function(req)
    local path, query = req.path, req.query
    table.insert(seen, { req.headers.x, req.body.name, query.q, path.id, req.more })
    req.headers.x, req.body.name, query.q, path.id = "p", "p", "p", "p"
    req.more = "p"
    task.sleep(0)
    return 200, {}
  end)
  local function call()
    test.call(s, "POST /a/1", { body = { name = "n" }, headers = { X = "h" },
                                query = { q = "q" } })
  end
  call()
  task.all { call, call }
  for i = 1, 3 do
    test.equal(seen[i], { "h", "n", "q", "1" })
  end
end)

test.case("the fault of one request is not that of another", function()
  local s = app.service("sample", { auth = "bearer" })
  s:get("/", function() return 200, {} end)
  local _, why = jwt.of_request { headers = {} }
  why.headers["WWW-Authenticate"], why.headers["Set-Cookie"] = "Poisoned", "a=b"
  why.kind = "internal"
  local _, other = jwt.of_request { headers = {} }
  test.equal(other.headers, { ["WWW-Authenticate"] = "Bearer" })
  test.equal(test.call(s, "GET /").status, 401)
end)

test.case("the claims of one caller are not those of another", function()
  test.replace(jwt, "secret", function() return "secret" end)
  local token = jwt.sign({ sub = "one", role = "customer" }, 60)
  local claims = jwt.verify(token)
  claims.role = "admin"
  test.equal(jwt.verify(token).role, "customer")
end)

test.case("settings come fresh every time", function()
  local options = conf.get "options"
  if options then
    options.poisoned = true
  end
  test.equal((conf.get "options" or {}).poisoned, nil)
  test.equal(conf.option("poisoned", "clean"), "clean")
end)

test.case("what was decoded once is not decoded again", function()
  local text = '{"a":{"b":1}}'
  json.decode(text).a.b = 2
  test.equal(json.decode(text), { a = { b = 1 } })
end)

test.case("tasks do not see each other's values through builtins", function()
  local function sort_with(mark)
    local list = {}
    for i = 1, 50 do
      list[i] = { mark = mark, n = (i * 7) % 50 }
    end
    table.sort(list, function(a, b)
      return a.mark == mark and b.mark == mark and a.n < b.n
    end)
    for _, entry in ipairs(list) do
      task.sleep(0)
      test.equal(entry.mark, mark)
    end
  end
  task.all { function() sort_with "one" end, function() sort_with "two" end }
end)

test.case("an iterator that another task walks as well goes its own way", function()
  local step = pairs(string)
  local function count()
    local n, name = 0, nil
    repeat
      name = step(nil, name)
      n = n + 1
      task.sleep(0)
    until name == nil
    return n
  end
  local one, two = task.all { count, count }
  test.equal(one, two)
end)

-- --- hostile objects in the hands of the host ------------------------------------------

test.case("json.encode asks an object nothing", function()
  local metatable = spy()
  test.equal(json.encode(setmetatable({ a = 1 }, metatable)), '{"a":1}')
  test.equal(json.encode { setmetatable({ 1, 2 }, metatable) }, "[[1,2]]")
  test.equal(#metatable.asked, 0)
end)

test.case("json.encode shows what a table holds, not what it pretends to", function()
  local pretender = setmetatable({}, { __index = function() return "secret" end })
  test.equal(json.encode(pretender), "{}")
  refused(function() json.encode(string) end, "userdata")
  refused(function() local t = {} t.t = t json.encode(t) end, "inside itself")
end)

test.case("fields of a log are looked at, not asked", function()
  local metatable = spy()
  local hostile = setmetatable({ a = setmetatable({ b = 1 }, metatable) }, metatable)
  log.debug("isolation sample", hostile)
  refused(function() log.debug(hostile) end, "string expected")
  refused(function() log.debug("isolation sample", string) end, expected)
  test.equal(#metatable.asked, 0)
end)

test.case("a label value is a text, a number or a boolean", function()
  local counter = metrics.counter("isolation_labels_total", "Sample.", { "what" })
  local metatable = spy()
  refused(function() counter:inc(setmetatable({}, metatable)) end, "is a table")
  refused(function() counter:inc(string) end, "is a userdata")
  refused(function() metrics.counter("isolation_total", "Sample.", string) end, expected)
  test.equal(#metatable.asked, 0)
end)

test.case("attributes of a span are looked at, not asked", function()
  local metatable = spy()
  refused(function() trace.set("key", setmetatable({}, metatable)) end, "not a text")
  refused(function()
    trace.span("sample", { a = setmetatable({}, metatable) }, function() end)
  end, "the attribute 'a' is a table")
  refused(function() trace.span(setmetatable({}, metatable), function() end) end,
    "string expected")
  test.equal(#metatable.asked, 0)
end)

test.case("parameters of a query, words of a command are not asked", function()
  local metatable = spy()
  local hostile = setmetatable({}, metatable)
  pcall(db.query, "select $1", hostile)
  refused(function() db.query(hostile) end, "")
  refused(function() native.redis.command("GET", hostile) end, "string expected")
  refused(function() native.redis.command(hostile) end, "string expected")
  pcall(native.amqp.publish, setmetatable({ routing_key = "k", body = "b" }, metatable))
  pcall(native.stock.reserve, setmetatable({ ttl_s = 1 }, metatable))
  test.equal(#metatable.asked, 0)
end)

test.case("options of a call are not asked, so they cannot make it again", function()
  local metatable = spy()
  local hostile = setmetatable({}, metatable)
  refused(function() native.http.request(hostile) end, "'method' is a nil")
  local endless = setmetatable({}, { __index = function(t) return http.request(t) end })
  refused(function() http.request(endless) end, "'method' is a nil")
  test.equal(#metatable.asked, 0)
end)

test.case("a list for task.all is looked at, not asked", function()
  local metatable = spy()
  local list = setmetatable({ function() return 1 end }, metatable)
  test.equal(task.all(list), 1)
  refused(function() task.all { setmetatable({}, metatable) } end, "not a function")
  refused(function() task.all(string) end, expected)
  test.equal(#metatable.asked, 0)
end)

test.case("a header of a call cannot carry another one along", function()
  for _, headers in ipairs {
    { ["X-A"] = "a\r\nX-B: b" }, { ["X-A"] = "a\nX-B: b" }, { ["X-A: b\r\nX-B"] = "c" },
    { ["X A"] = "c" }, { [""] = "c" }, { ["X-A"] = "a\0b" },
  } do
    local answer, why = http.request {
      method = "GET", url = "http://127.0.0.1:1/", headers = headers,
    }
    test.equal(answer, nil)
    test.equal(why.kind, "bad_input")
  end
end)

test.case("a URL or a method cannot carry a second request along", function()
  for _, request in ipairs {
    { method = "GET", url = "http://127.0.0.1:1/ HTTP/1.1\r\nHost: evil\r\n\r\nGET /" },
    { method = "GET / HTTP/1.1\r\nX: y\r\n\r\nGET", url = "http://127.0.0.1:1/" },
    { method = "GET", url = "http://127.0.0.1:1/a\nb" },
    { method = "GET", url = "file:///etc/passwd" },
  } do
    local answer, why = http.request(request)
    test.equal(answer, nil)
    test.equal(why.kind, "bad_input")
  end
end)

-- --- forged faults ---------------------------------------------------------------------

test.case("a fault has one of the kinds there are", function()
  refused(function() fault.new("root", "x") end, "unknown kind of fault")
  refused(function() native.fault.new("root", "x") end, "no kind of fault")
  refused(function() native.fault.new({}, "x") end, "string expected")
  refused(function() native.fault.new("missing", "x", string) end, expected)
end)

test.case("a forged fault is known for what it is", function()
  local forged = { kind = "missing", detail = "x" }
  test.equal(native.fault.is(forged), false)
  test.equal(native.fault.is(fault.new("missing", "x")), true)
  setmetatable(forged, { __index = fault.new("missing", "") })
  test.equal(native.fault.is(forged), false)
end)

test.case("a status out of range counts for nothing", function()
  for _, status in ipairs { 0, -1, 99, 200, 399, 600, 2 ^ 31, 2 ^ 53, 1e300, {} } do
    test.equal(native.fault.status { kind = "missing", status = status }, 404)
  end
  test.equal(native.fault.status { kind = "missing", status = 410 }, 410)
end)

test.case("the host reads a fault's members, not what __index says of them", function()
  local forged = setmetatable({}, { __index = function() return "missing" end })
  test.equal(native.fault.status(forged), 500)
  local metatable = spy()
  test.equal(native.fault.status(setmetatable({ kind = "missing" }, metatable)), 404)
  test.equal(#metatable.asked, 0)
end)

test.case("a fault that was tampered with is still shown", function()
  local why = fault.new("missing", "gone")
  why.kind, why.detail = {}, setmetatable({}, spy())
  test.equal(tostring(why), "fault: ")
end)

test.case("an error object is passed on and never asked", function()
  local metatable = spy()
  local thing = setmetatable({}, metatable)
  local ok, why = pcall(error, thing)
  test.equal(ok, false)
  test.equal(rawequal(why, thing), true)
  local _, same = pcall(trace.span, "sample", function() error(thing) end)
  test.equal(rawequal(same, thing), true)
  local _, other = pcall(task.all, { function() error(thing) end })
  test.equal(rawequal(other, thing), true)
  test.equal(#metatable.asked, 0)
end)

-- --- waits where there can be none -----------------------------------------------------

test.case("a comparator of sort cannot wait, and does no harm by trying", function()
  refused(function()
    table.sort({ 3, 2, 1 }, function(a, b) task.sleep(0) return a < b end)
  end, "nothing can wait inside a comparator")
  task.sleep(0)
end)

test.case("a function for gsub cannot wait, and does no harm by trying", function()
  refused(function()
    return (("abc"):gsub(".", function() task.sleep(0) end))
  end, "nothing can wait")
  task.sleep(0)
end)

test.case("metamethods may wait like any function", function()
  local object = setmetatable({}, {
    __index = function(_, name) task.sleep(0) return name end,
    __concat = function() task.sleep(0) return "joined" end,
    __eq = function() task.sleep(0) return true end,
    __lt = function() task.sleep(0) return true end,
    __call = function() task.sleep(0) return "called" end,
    __tostring = function() task.sleep(0) return "text" end,
  })
  local other = setmetatable({}, { __eq = nil })
  test.equal(object.name, "name")
  test.equal(object .. "x", "joined")
  test.equal(object < object, true)
  test.equal(object(), "called")
  test.equal(tostring(object), "text")
  test.equal(object == other, false)
end)

-- --- too much of everything ------------------------------------------------------------

test.case("endless recursion is an error of the task that does it", function()
  local function down() return 1 + down() end
  refused(down, "stack overflow")
  refused(function()
    local m = {}
    m.__index = function(t, name) return t[name] .. "" end
    return setmetatable({}, m).x
  end, "stack overflow")
  task.sleep(0)
end)

test.case("an endless chain of tables is an error", function()
  local t = {}
  setmetatable(t, { __index = t, __newindex = t })
  refused(function() return t.x end, "loop")
  refused(function() t.x = 1 end, "loop")
end)

test.case("absurd counts are refused before they are begun", function()
  refused(function() unpack({}, 1, 2 ^ 31 - 1) end, "too many results")
  refused(function() table.insert({}, -2 ^ 31, 1) end, "out of bounds")
  refused(function() ("x"):rep(2 ^ 40) end, "")
  refused(function() select(-2 ^ 31) end, "out of range")
end)

test.case("a giant name is only a name", function()
  local name = ("x"):rep(2 ^ 20)
  local t = { [name] = 1 }
  test.equal(t[name], 1)
  refused(function() fault[name] = 1 end, read_only)
  test.equal(fault[name], nil)
end)

test.case("tables get no finalizer", function()
  local ran = 0
  for _ = 1, 20000 do
    setmetatable({}, { __gc = function() ran = ran + 1 end })
  end
  test.equal(ran, 0)
end)

test.case("a weak table shows the end of one's own objects only", function()
  local weak = setmetatable({}, { __mode = "kv" })
  weak[1], weak.fault, weak.text = string, fault, "text"
  for _ = 1, 20000 do
    weak[#weak + 1] = {}
  end
  test.equal(rawequal(weak[1], string) and rawequal(weak.fault, fault), true)
end)

return test.suite()
