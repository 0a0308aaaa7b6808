-- The cache may be lost, and never brings an old value back.
local cache = require "cache"
local clock = require "clock"
local fault = require "fault"
local test = require "test"

-- A Redis of two commands that does not forget.
local function fake_redis()
  local held = {}
  test.replace(cache, "key", function(key) return "sample:" .. key end)
  test.replace(cache, "command", function(name, key, value, ...)
    if name == "GET" then
      return held[key]
    end
    local options = table.concat({ ... }, " ")
    if not options:find("NX") or held[key] == nil then
      held[key] = value
    end
  end)
  return held
end

test.case("a value is computed once", function()
  fake_redis()
  local runs = 0
  local function compute()
    runs = runs + 1
    return { n = runs }
  end
  test.equal(cache.fetch("a", 5, compute), { n = 1 })
  test.equal(cache.fetch("a", 5, compute), { n = 1 })
  test.equal(runs, 1)
end)

test.case("a dropped value is computed again, and an old one cannot come back", function()
  local held = fake_redis()
  cache.put("a", "old", 5)
  cache.drop("a")
  test.equal(cache.get("a"), nil)
  cache.put("a", "old", 5) -- a reader that was slow
  test.equal(cache.get("a"), nil)
  held["sample:a"] = nil -- the tombstone's second is over
  cache.put("a", "new", 5)
  test.equal(cache.get("a"), "new")
end)

test.case("a reader that was slower than the tombstone brings nothing back", function()
  local held, now = fake_redis(), 100
  test.replace(clock, "mono", function() return now end)
  local function read()
    cache.drop("a")
    held["sample:a"], now = nil, now + 1.1
    return "old"
  end
  test.equal(cache.fetch("a", 5, read), "old")
  test.equal(cache.get("a"), nil)
  test.equal(cache.fetch("a", 5, function() return "new" end), "new")
  test.equal(cache.get("a"), "new")
end)

test.case("nothing is kept of nothing", function()
  local held = fake_redis()
  test.equal(cache.fetch("a", 5, function() return nil end), nil)
  test.equal(next(held), nil)
end)

test.case("why there is no value is passed on", function()
  fake_redis()
  test.fails(function()
    return cache.fetch("a", 5, function() return nil, fault.new("missing", "no") end)
  end, "missing")
end)

test.case("without Redis everything is computed", function()
  test.replace(cache, "key", function(key) return key end)
  test.replace(cache, "command", function()
    return nil, fault.new("unavailable", "down")
  end)
  test.equal(cache.fetch("a", 5, function() return 7 end), 7)
  cache.drop("a")
end)

return test.suite()
