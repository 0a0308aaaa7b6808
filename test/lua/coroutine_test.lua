-- Coroutines of a script's own, inside the one that is its task.
local fault = require "fault"
local task = require "task"
local test = require "test"
local null = require("native.json").null

local create, resume, wrap = coroutine.create, coroutine.resume, coroutine.wrap
local yield, status = coroutine.yield, coroutine.status

test.case("a generator may wait between two values", function()
  local numbers = wrap(function()
    for i = 1, 3 do
      task.sleep(0)
      yield(i)
    end
  end)
  local sum = 0
  for n in numbers do
    sum = sum + n
  end
  test.equal(sum, 6)
end)

test.case("a wait passes through coroutines inside one another", function()
  local function nest(depth)
    if depth == 0 then
      task.sleep(0.001)
      return "bottom"
    end
    return (wrap(nest)(depth - 1))
  end
  test.equal(nest(20), "bottom")
end)

test.case("task.all works inside a coroutine, and coroutines inside its parts", function()
  local function part(text)
    return function()
      return wrap(function()
        task.sleep(0)
        return text
      end)()
    end
  end
  local co = create(function() return task.all { part "a", part "b" } end)
  test.equal({ resume(co) }, { true, "a", "b" })
end)

test.case("a raised fault passes through wrap as it is", function()
  test.fails(wrap(function()
    task.sleep(0)
    fault.raise("refused", "no")
  end), "refused")
end)

test.case("a task's own coroutine is not handed out", function()
  test.equal(select("#", coroutine.running()), 0)
  test.equal(coroutine.isyieldable(), false)
  local inside = wrap(function() return coroutine.running() end)()
  test.equal({ type(inside), status(inside) }, { "thread", "dead" })
end)

test.case("yield outside a coroutine is an error, not a wait without an end", function()
  local ok, why = pcall(yield, 1)
  test.equal(ok, false)
  test.match(why, "outside a coroutine")
  local parts = { pcall(task.all, { function() yield() end }) }
  test.equal(parts[1], false)
end)

test.case("nothing that a script yields is taken for a wait", function()
  local begun = task.deadline()
  for _, values in ipairs { {}, { null }, { false }, { 0 }, { string } } do
    local co = create(function() yield(unpack(values)) end)
    test.equal({ resume(co) }, { true, unpack(values) })
    test.equal(status(co), "suspended")
  end
  test.equal(begun - task.deadline() < 1, true)
end)

test.case("nobody else resumes a coroutine that waits, nor feeds it an answer", function()
  local got, seen
  local co = create(function()
    got = { task.sleep(0.01) }
    return "done"
  end)
  local first = task.all {
    function()
      local _, what = resume(co)
      return what
    end,
    function()
      seen = { status(co), resume(co, "forged") }
    end,
  }
  test.equal(seen, { "normal", false, "cannot resume waiting coroutine" })
  test.equal(got, {})
  test.equal(first, "done")
end)

test.case("resume takes coroutines only", function()
  for _, value in ipairs { 1, "x", {}, true, string, tostring, null } do
    local ok, why = pcall(resume, value)
    test.equal(ok, false)
    test.match(why, "coroutine expected")
    test.equal(pcall(status, value), false)
  end
end)

test.case("a coroutine cannot resume itself, nor the one that it runs in", function()
  local co
  co = create(function()
    local itself = { resume(co) }
    local outer = wrap(function() return { resume(co) } end)()
    return itself, outer
  end)
  local _, itself, outer = resume(co)
  test.equal(itself, { false, "cannot resume running coroutine" })
  test.equal(outer, { false, "cannot resume normal coroutine" })
end)

test.case("coroutines inside one another without an end are an error", function()
  local function down()
    local ok, why = resume(create(down))
    if not ok then
      error(why, 0)
    end
  end
  local ok, why = pcall(down)
  test.equal(ok, false)
  test.equal(type(why), "string")
  task.sleep(0)
end)

test.case("a coroutine in a comparator of sort may yield to it, but not wait", function()
  local list = { 3, 1, 2 }
  table.sort(list, function(a, b)
    local less = wrap(function()
      yield(a < b)
    end)
    return less()
  end)
  test.equal(list, { 1, 2, 3 })
  local ok = pcall(table.sort, { 2, 1 }, function(a, b)
    wrap(function() task.sleep(0) end)()
    return a < b
  end)
  test.equal(ok, false)
  task.sleep(0)
end)

return test.suite()
