# SPDX-License-Identifier: MIT
"""What a script can do to its host: one handler each, and how each has to end.

cpu, memory, time    the budget that ends it: 503, limit
budget               whichever of them is used up first
limit                another bound of the host: 503, limit
bug                  an ordinary error of the script: 500, internal; says what
harmless             it comes back, whatever it says
"""
import collections

Attack = collections.namedtuple("Attack", "name end says code")

# Seen by all of them.
GROUND = """
local app, json, task, log = require "app", require "json", require "task", require "log"
local metrics, trace, crypto, http = require "metrics", require "trace", require "crypto", require "http"
local s = app.service "sample"
local labelled = metrics.counter("labelled_total", "Events, by a label without bounds.", { "of" })
local function spin() while true do end end
local function grow() local t = {} while true do t[#t + 1] = ("x"):rep(20000) .. #t end end
local function with(name) return setmetatable({}, { [name] = spin }) end
local function survive(f) while true do pcall(f) end end
local function long(byte, size) return (byte or "a"):rep(size or 1000000) end
local stars = ("a*"):rep(30) .. "b"
"""

ATTACKS = []


def attacks(end, says, text):
    """Blocks of code, each under its name: `-- name`."""
    for block in text.strip().split("\n-- "):
        name, code = block.removeprefix("-- ").split("\n", 1)
        ATTACKS.append(Attack(name.strip(), end, says, code))


def slug(attack):
    return attack.name.replace(" ", "-").replace(":", "").replace(",", "")


def service(*more):
    """The source of a service with a route for each, and GET /fine."""
    routes = [f's:get("/{slug(a)}", function(req) do\n{a.code}\nend return 200, "survived"\nend)' for a in ATTACKS]
    return "\n".join([GROUND, 's:get("/fine", function() return 200, { ok = true } end)',
                      's:get("/roomy", function()\n  local t = {}\n  for i = 1, 50000 do t[i] = "row " .. i end\n'
                      "  return 200, { rows = #t }\nend)",
                      's:post("/echo", function(req) return 200, { kind = type(req.body) } end)',
                      *more, *routes, "return s", ""])


# --- loops ---------------------------------------------------------------------------------

attacks("cpu", "CPU time", """
-- an endless loop
while true do end
-- an endless loop inside pcall
pcall(spin)
-- pcalls of endless loops, endlessly
survive(spin)
-- a pcall that catches and goes on
while true do pcall(error, "again") end
-- pcalls inside one another
local function deep(n) if n == 0 then spin() end pcall(deep, n - 1) deep(n - 1) end
pcall(deep, 50)
-- an xpcall whose handler loops
xpcall(error, spin)
-- an xpcall of an endless loop whose handler loops
xpcall(spin, spin)
-- a coroutine that loops
coroutine.wrap(spin)()
-- coroutines that loop, caught, endlessly
while true do coroutine.resume(coroutine.create(spin)) end
-- a coroutine inside a pcall inside a coroutine
coroutine.wrap(function() survive(function() coroutine.wrap(function() survive(spin) end)() end) end)()
-- a generator without an end
for _ in coroutine.wrap(function() while true do coroutine.yield(1) end end) do end
-- an iterator without an end
for _ in function() return 1 end do end
-- a loop of goto
::again:: goto again
-- repeat with closures
local n = 0
repeat local f = function() n = n + 1 return n end until f() < 0
-- numbers up to infinity
local sum = 0
for i = 1, math.huge do sum = sum + i end
-- a comparator that loops
table.sort({ 3, 2, 1 }, function() while true do end end)
-- a comparator that catches
table.sort({ 3, 2, 1 }, function() survive(spin) end)
-- a comparator that lies
local t = {}
for i = 1, 100000 do t[i] = i % 7 end
while true do pcall(table.sort, t, function() return true end) end
-- a large table sorted over and over
local t = {}
for i = 1, 50000 do t[i] = (i * 7919) % 50021 end
while true do table.sort(t, function(a, b) return a < b end) table.sort(t, function(a, b) return a > b end) end
-- a gsub callback that loops
long():gsub("a", spin)
-- a gsub callback that catches
long():gsub("a", function() pcall(spin) end)
-- long texts sorted
local t = {}
for i = 1, 5000 do t[i] = long("x", 8000) .. i end
while true do table.sort(t) end
-- metamethod: index
return 200, with("__index").x
-- metamethod: newindex
with("__newindex").x = 1
-- metamethod: call
with("__call")()
-- metamethod: concat
return 200, with("__concat") .. "x"
-- metamethod: tostring
return 200, tostring(with("__tostring"))
-- metamethod: eq
local meta = { __eq = spin }
return setmetatable({}, meta) == setmetatable({}, meta)
-- metamethod: lt inside sort
local meta = { __lt = spin }
table.sort({ setmetatable({}, meta), setmetatable({}, meta), setmetatable({}, meta) })
-- metamethod: tostring inside format
survive(function() return ("%s"):format(with("__tostring")) end)
-- a metamethod that catches
return 200, setmetatable({}, { __index = function() survive(spin) end }).x
-- parts that loop
task.all { spin, spin }
-- sleep that follows a caught end
pcall(function() pcall(spin) task.sleep(0) end)
task.sleep(60)
-- tail calls
local function f(n) return f(n + 1) end
return f(1)
-- tail calls of two, inside pcall
local f, g
function f() return g() end
function g() return f() end
survive(f)
-- pcall as a tail call
local function f() return pcall(f) end
while true do f() end
-- recursion, caught, endlessly
local function f() return 1 + f() end
survive(f)
-- recursion in two branches
local function f() pcall(f) pcall(f) end
while true do f() end
-- an answer that follows a caught end
pcall(spin)
return 200, "survived"
-- fibonacci
local function fib(n) return n < 2 and n or fib(n - 1) + fib(n - 2) end
return 200, fib(60) .. ""
-- logging without an end
while true do log.info("again") end
-- spans without an end
while true do trace.span("again", function() end) end
-- digests without an end
local text = long("x", 8000000)
while true do crypto.sha256(text) end
""")

# --- patterns ------------------------------------------------------------------------------

attacks("cpu", "CPU time", """
-- pattern: find
long():find(stars)
-- pattern: match
long():match((".-"):rep(20) .. "b")
-- pattern: gmatch
for _ in long():gmatch(stars) do end
-- pattern: gsub
long():gsub(stars, "x")
-- pattern: gsub with a table
long():gsub(stars, {})
-- pattern: caught, endlessly
survive(function() long():find(stars) end)
-- pattern: a back reference
long():find("(.*)b%1")
-- pattern: balanced
survive(function() long("("):find("%b()") end)
-- pattern: frontier
survive(function() long("a "):find("%f[%w]%a-%f[%W]z") end)
-- pattern: sets
long():find(("[^b]*"):rep(20) .. "b")
-- pattern: inside a coroutine
coroutine.wrap(function() survive(function() long():match(stars) end) end)()
-- pattern: plain find of what is not there
local text, wanted = long("a", 4000000), long("a", 2000000) .. "b"
while true do text:find(wanted, 1, true) end
-- pattern: empty matches
while true do long():gsub("", "") end
""")

# --- memory --------------------------------------------------------------------------------

attacks("memory", "memory", """
-- a table that grows, caught
pcall(grow)
return 200, "survived"
-- a table that grows, caught, endlessly
survive(grow)
-- a text that doubles
local text = "x"
while true do text = text .. text end
-- a text that doubles, kept by pcall
local text = "x"
survive(function() text = text .. text end)
-- texts of rep that are kept
local t = {}
while true do t[#t + 1] = ("x"):rep(1000000 + #t) end
-- texts of concat that are kept
local t, words = {}, {}
for i = 1, 1000 do words[i] = long("x", 1000) end
while true do t[#t + 1] = table.concat(words, #t) end
-- texts of format that are kept
local t, text = {}, long("x", 4000000)
while true do t[#t + 1] = ("%d%s"):format(#t, text) end
-- large keys
local t, i = {}, 0
while true do i = i + 1 t[long("k", 100000) .. i] = i end
""")

attacks("budget", "CPU time|memory", """
-- a table that grows
local t, i = {}, 0
while true do i = i + 1 t[i] = "x" .. i end
-- table.insert without an end
local t = {}
while true do table.insert(t, {}) end
-- texts of gsub that are kept
local t = {}
while true do t[#t + 1] = long("a", 100000):gsub("a", "bbbb" .. #t) end
-- tables inside one another
local t = {}
while true do t = { t, t } end
-- closures that are kept
local t = {}
while true do local n = #t t[n + 1] = function() return n end end
-- a metatable each
local t = nil
while true do t = setmetatable({}, { __index = t }) end
-- coroutines that are kept
local t = {}
while true do t[#t + 1] = coroutine.create(function() end) end
-- coroutines that are kept waiting
local t = {}
while true do
  t[#t + 1] = coroutine.wrap(function() local a, b, c = {}, {}, {} coroutine.yield(a, b, c) end)
  t[#t]()
end
-- memory inside a coroutine, caught
coroutine.wrap(function() survive(grow) end)()
-- memory inside a comparator
table.sort({ 3, 2, 1 }, grow)
-- memory inside a gsub callback
survive(function() long():gsub("a", grow) end)
-- memory inside tostring
return 200, tostring(setmetatable({}, { __tostring = grow }))
-- memory inside parts
task.all { grow, grow, grow }
-- memory, and an error handler that wants more
xpcall(grow, grow)
""")

attacks("budget", "CPU time|memory", """
-- json: decoded trees that are kept
local t, text = {}, "[" .. ('{"a":[1,2,3],"b":{"c":"d"}},'):rep(2000) .. "1]"
while true do t[#t + 1] = json.decode(text) end
-- json: a text decoded over and over
local text = "[" .. ("[],"):rep(60000) .. "1]"
while true do json.decode(text) end
-- json: deep text over and over
local text = long("[", 1000000)
while true do json.decode(text) end
-- json: huge text over and over
local text = '"' .. long("x", 7000000) .. '"'
while true do json.decode(text) end
-- json: huge text that is bad at its end
local text = "[" .. long("1,", 3000000)
while true do json.decode(text) end
-- json: encoded over and over
local t = {}
for i = 1, 20000 do t[i] = { id = i, name = "row" } end
while true do json.encode(t) end
-- json: nothing but escapes
local text = '"' .. ("\\\\u0041"):rep(1000000) .. '"'
while true do json.decode(text) end
-- pcall as a tail call, inside a coroutine
local function f() return pcall(f) end
while true do pcall(coroutine.wrap(f)) end
-- recursion with more and more arguments
local function f(...) return f(1, ...) end
pcall(f)
while true do pcall(f) end
-- upper, lower and reverse of a giant
local text = long("aB", 4000000)
while true do text = text:upper():reverse():lower() end
-- insertions in front
local t = {}
while true do table.insert(t, 1, #t) end
-- a table emptied from the front
local t = {}
for i = 1, 300000 do t[i] = i end
while true do table.remove(t, 1) end
-- next over an emptied table
local t = {}
for i = 1, 300000 do t[i] = i end
for i = 1, 300000 do t[i] = nil end
while true do next(t) end
-- unpack of much, over and over
local t = {}
for i = 1, 7000 do t[i] = i end
while true do select("#", unpack(t)) end
-- texts with one hash
local i, head, tail = 0, long("h", 64), long("t", 64)
local t = {}
while true do i = i + 1 t[i] = head .. ("%08d"):format(i) .. tail end
-- labels without bounds
local i = 0
while true do i = i + 1 labelled:inc("label " .. i) end
""")

# --- waiting -------------------------------------------------------------------------------

attacks("time", "deadline", """
-- sleeping too long
task.sleep(60)
-- sleeping without an end
while true do task.sleep(0) end
-- sleeping, caught, without an end
while true do pcall(task.sleep, 0.01) end
-- sleeping inside a coroutine, caught
coroutine.wrap(function() while true do pcall(task.sleep, 0.01) end end)()
-- sleeping parts, caught
local function part() survive(function() task.sleep(0.01) end) end
while true do pcall(task.all, { function() task.sleep(60) end, part }) end
-- sleeping parts, over and over
while true do task.all { function() end, function() end } end
-- work and sleep in turn
while true do
  for _ = 1, 100000 do end
  task.sleep(0)
end
-- calls to nobody
while true do pcall(http.request, { method = "GET", url = "http://127.0.0.1:9/" }) end
""")

attacks("budget", "CPU time|memory|deadline", """
-- parts that start parts, caught
local function fork() while true do pcall(task.all, { fork, fork, fork }) end end
fork()
-- many parts that loop
local parts = {}
for i = 1, 64 do parts[i] = spin end
task.all(parts)
-- many parts that loop, caught, over and over
local parts = {}
for i = 1, 64 do parts[i] = function() survive(spin) end end
while true do pcall(task.all, parts) end
""")

# --- ordinary errors -----------------------------------------------------------------------

attacks("bug", "stack overflow|too deep", """
-- recursion
local function f() return 1 + f() end
f()
-- recursion of metamethods
local t = setmetatable({}, {})
getmetatable(t).__index = function(self, key) return 1 + self[key] end
return 200, t.x
-- recursion of tostring
local t = setmetatable({}, {})
getmetatable(t).__tostring = function(self) return "x" .. tostring(self) end
return 200, tostring(t)
-- recursion of gsub
local function f() return (("x"):gsub("x", f)) end
f()
-- recursion of sort
local function f() table.sort({ 3, 2, 1 }, f) end
f()
-- recursion of format
local t = setmetatable({}, {})
getmetatable(t).__tostring = function(self) return ("x%s"):format(self) end
return 200, tostring(t)
-- recursion that concatenates
local t = setmetatable({}, {})
getmetatable(t).__concat = function(a, b) return a .. b end
return 200, t .. "x"
""")

attacks("bug", "too deep|C stack overflow|stack overflow|memory", """
-- coroutines inside one another
local function f() return coroutine.wrap(f)() end
f()
-- coroutines inside one another, created ahead
local function f(n) local co = coroutine.create(f) return assert(coroutine.resume(co, n + 1)) end
f(1)
""")

attacks("limit", "parts of one task", """
-- parts that start parts
local function fork() return task.all { fork, fork } end
fork()
-- many parts that start many parts
local function fork()
  local parts = {}
  for i = 1, 64 do parts[i] = fork end
  return task.all(parts)
end
fork()
""")

attacks("bug", "larger than", """
-- a giant of rep
return 200, ("x"):rep(1e9)
-- a giant of rep with a separator
return 200, (""):rep(1e7, "xxxxxxxx")
-- a giant of format
return 200, ("%s%s%s"):format(long("x", 4e6), long("x", 4e6), long("x", 4e6))
-- a giant of concat
local t = {}
for i = 1, 1000 do t[i] = long("x", 10000) end
return 200, table.concat(t)
-- a giant separator
return 200, table.concat({ 1, 2, 3 }, long("x", 5e6))
-- a giant of gsub
return 200, (long():gsub("a", ("x"):rep(1000)))
-- a giant of gsub with captures
return 200, (long():gsub("(a+)", ("%1"):rep(100)))
""")

attacks("bug", "unpack|overflow", """
-- unpack of a giant
local t = {}
for i = 1, 1000000 do t[i] = i end
return 200, select("#", unpack(t)) .. ""
-- unpack of a range without an end
return 200, select("#", unpack({}, 1, 1e8)) .. ""
-- unpack of a range around zero
return 200, select("#", unpack({}, -2147483648, 2147483647)) .. ""
""")

attacks("bug", "too long|too many|overflow", """
-- the bytes of a giant
return 200, select("#", long("x", 8000000):byte(1, -1)) .. ""
""")

attacks("bug", "loop", """
-- an index chain in a ring
local a, b = {}, {}
setmetatable(a, { __index = b })
setmetatable(b, { __index = a })
return 200, a.x
""")

attacks("bug", "more than", """
-- a sort of too much
local t = {}
for i = 1, 200000 do t[i] = i end
table.sort(t)
-- spans inside one another
local function f() return trace.span("deep", f) end
f()
""")

attacks("bug", "deep|nested|values|larger", """
-- json: a cycle
local t = {}
t.t = t
return 200, json.encode(t)
-- json: shared tables
local t = { 1 }
for _ = 1, 40 do t = { t, t } end
return 200, json.encode(t)
-- json: shared tables, returned
local t = { 1 }
for _ = 1, 40 do t = { t, t } end
return 200, t
-- json: a deep tree, returned
local t = {}
for _ = 1, 100000 do t = { t } end
return 200, t
-- json: deep text
error((select(2, json.decode(long("[", 1000000)))))
-- json: more values than may be
error((select(2, json.decode("[" .. long("1,", 1000000) .. "1]"))))
""")

attacks("bug", "", """
-- an error whose tostring loops
error(with("__tostring"))
-- an error whose index loops
error(with("__index"))
-- an error whose kind is found by a loop
error(setmetatable({}, { __index = function() survive(spin) end }))
-- a giant error
error(long("x", 8000000))
-- a giant traceback
local function f(n) if n == 0 then error("deep") end return 1 + f(n - 1) end
f(15000)
-- a yield to nobody
coroutine.yield(1)
""")

attacks("bug", "unknown global|undeclared global|not found|read-only|attempt to", """
-- os
return 200, os.time()
-- io
io.open("/etc/passwd")
-- debug
debug.sethook()
-- load
load("return 1")
-- loadstring
loadstring("while true do end")()
-- dofile
dofile("/etc/passwd")
-- collectgarbage
collectgarbage("stop")
-- newproxy
newproxy(true)
-- setfenv
setfenv(1, {})
-- ffi
require "ffi"
-- jit
jit.on()
-- string.dump
string.dump(spin)
-- the metatable of texts
getmetatable("").__index = with("__index")
-- a library changed
string.rep = spin
-- a global
everybody = { sees = "it" }
""")

# --- what comes back -----------------------------------------------------------------------

attacks("harmless", "", """
-- parts that loop, caught: each has its own budget
return 200, pcall(task.all, { spin, function() survive(spin) end }) and "well" or "caught"
-- an answer whose metamethods loop
return 200, with("__index"), with("__index")
-- an answer that cannot be told
return setmetatable({}, { __index = spin, __eq = spin, __lt = spin })
-- an answer of eight megabytes
return 200, long("x", 8000000)
-- a fault of eight megabytes
error({ kind = "refused", detail = long("x", 4000000), more = long("y", 4000000) })
-- a log line of eight megabytes
log.info(long("x", 8000000), { more = long("y", 8000000) })
-- a span's attribute of eight megabytes
trace.set("more", long("x", 8000000))
-- a name of eight megabytes
return 200, tostring(pcall(function() return s[long("x", 8000000)].y end))
-- a number of eight megabytes
return 200, tostring(tonumber(long("1", 8000000)))
-- patterns that are too long
return 200, tostring(pcall(string.find, "x", long("a?", 1000000)))
-- patterns with too many captures
return 200, tostring(pcall(string.find, "x", long("(x)", 1000000)))
""")
