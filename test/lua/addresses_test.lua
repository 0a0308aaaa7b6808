-- Each address is first as often as any other, and those that are down are last.
local addresses = require "addresses"
local clock = require "clock"
local random = require "random"
local test = require "test"

local function from(start)
  test.replace(random, "integer", function(low, high)
    return math.max(low, math.min(high, start))
  end)
end

local function order(text)
  return table.concat(addresses.of(text), " ")
end

test.case("one address is asked each time, as it always was", function()
  for _ = 1, 3 do
    test.equal(addresses.of "http://127.0.0.1:8002", { "http://127.0.0.1:8002" })
  end
end)

test.case("any address may be first, and the others follow", function()
  local text = "http://a:1,http://b:2, http://c:3/ ,"
  from(0)
  test.equal(order(text), "http://a:1 http://b:2 http://c:3")
  from(1)
  test.equal(order(text), "http://b:2 http://c:3 http://a:1")
  from(2)
  test.equal(order(text), "http://c:3 http://a:1 http://b:2")
end)

test.case("two calls of a handler do not keep one of two for the first", function()
  local first = { x = 0, y = 0 }
  for _ = 1, 200 do
    local one = addresses.of("x,y")[1]
    addresses.of "x,y"
    first[one] = first[one] + 1
  end
  test.equal(first.x > 50 and first.y > 50, true)
end)

test.case("one that failed is last until it answers or a second is over", function()
  local now, text = 100, "p,q,r"
  test.replace(clock, "mono", function() return now end)
  from(0)
  addresses.failed "p"
  test.equal(order(text), "q r p")
  addresses.answered "p"
  test.equal(order(text), "p q r")
  addresses.failed "q"
  addresses.failed "r"
  test.equal(order(text), "p q r")
  now = now + 0.9
  test.equal(order(text), "p q r")
  now = now + 0.2
  from(2)
  test.equal(order(text), "r p q")
end)

test.case("no address is none", function()
  test.equal(addresses.of "", {})
  test.equal(addresses.of " , ,", {})
end)

return test.suite()
