-- The test library fails what is wrong, and leaves nothing behind.
local app = require "app"
local cache = require "cache"
local fault = require "fault"
local log = require "log"
local metrics = require "metrics"
local test = require "test"
local trace = require "trace"

local seen = metrics.counter("test_seen_total", "Seen, by what.", { "what" })
local took = metrics.histogram("test_took_seconds", "How long it took.")
local waited = metrics.summary("test_waited_seconds", "How long it waited.")

local place = { name = "old" }

test.case("what is replaced is replaced", function()
  test.replace(place, "name", "new")
  test.replace(place, "name", "newest")
  test.equal(place.name, "newest")
end)

test.case("and is put back after the case", function()
  test.equal(place.name, "old")
end)

test.case("a library's function is replaced where everybody finds it", function()
  test.replace(cache, "command", function() return "ours" end)
  test.equal((require "cache").command(), "ours")
end)

test.case("and is the library's again", function()
  test.equal(pcall(cache.command), false)
end)

test.case("spans that ended are there, the inner before the outer", function()
  trace.span("outer", { n = 1, exact = 1.5, sure = true, word = "x" }, function()
    pcall(trace.span, "inner", function() fault.raise("limit", "full") end)
  end)
  local inner, outer = test.spans()[1], test.spans()[2]
  test.equal({ inner.name, outer.name, inner.kind }, { "inner", "outer", "internal" })
  test.equal(inner.parent_span_id, outer.span_id)
  test.equal(inner.trace_id, outer.trace_id)
  test.equal(outer.parent_span_id, nil)
  test.equal({ inner.failed, inner.error_type, outer.failed }, { true, "limit", false })
  test.equal(outer.attributes, { n = 1, exact = 1.5, sure = true, word = "x" })
  test.equal(test.span("outer"), outer)
end)

test.case("spans and logs of another case are not", function()
  test.equal({ test.spans(), test.logs() }, { {}, {} })
  test.equal(pcall(test.span, "outer"), false)
end)

test.case("logs of every severity are there, with their span", function()
  trace.span("step", function() log.debug("looked", { n = 2, list = { 1, 2 } }) end)
  log.error("failed")
  local looked, failed = test.logs()[1], test.logs()[2]
  test.equal({ looked.severity, looked.message }, { "debug", "looked" })
  test.equal(looked.attributes, { n = 2, list = "[1,2]" })
  test.equal(looked.span_id, test.span("step").span_id)
  test.equal(failed, { severity = "error", message = "failed", attributes = {} })
end)

test.case("value reads a series by its labels", function()
  test.equal(test.value("test_seen_total", { "cat" }), nil)
  seen:inc("cat")
  seen:add(2, "cat")
  test.equal(test.value("test_seen_total", { "cat" }), 3)
  test.equal(test.value("test_seen_total"), nil)
end)

test.case("value gives the count of a histogram or summary", function()
  took:observe(0.5)
  took:observe(1.5)
  test.equal(test.value("test_took_seconds"), 2)
  waited:observe(0.25)
  test.equal(test.value("test_waited_seconds"), 1)
end)

test.case("equal compares tables by what they hold", function()
  test.equal({ 1, { a = true } }, { 1, { a = true } })
  test.equal(pcall(test.equal, { 1 }, { 1, 2 }), false)
  test.equal(pcall(test.equal, { a = 1 }, { a = 2 }), false)
  test.equal(pcall(test.equal, 1, "1"), false)
end)

test.case("fails wants a fault of that kind", function()
  local why = test.fails(function() fault.raise("limit", "full") end, "limit")
  test.equal(why.detail, "full")
  test.equal(pcall(test.fails, function() return 1 end, "limit"), false)
  test.equal(pcall(test.fails, function() fault.raise("limit", "x") end, "denied"), false)
  test.equal(pcall(test.fails, function() error("a bug") end, "limit"), false)
end)

test.case("call finds the route by method and path", function()
  local s = app.service "sample"
  s:get("/a/:b/c", function(req) return 200, { b = req.path.b } end)
  s:post("/a", function() return 204 end)
  test.equal(test.call(s, "GET /a/x/c").body, { b = "x" })
  test.equal(test.call(s, "POST /a").status, 204)
  test.equal(pcall(test.call, s, "GET /a"), false)
end)

test.case("a handler with a bug fails the test, not the request", function()
  local s = app.service "sample"
  s:get("/bug", function() error("a bug") end)
  test.equal(pcall(test.call, s, "GET /bug"), false)
end)

return test.suite()
