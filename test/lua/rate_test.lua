-- A limit lets through what it may, says how long to wait, and is never in the way when
-- Redis is.
local cache = require "cache"
local fault = require "fault"
local rate = require "rate"
local test = require "test"

-- What Redis answers to each command in turn; gives the commands that came.
local function redis(...)
  local answers, asked = { ... }, {}
  test.replace(cache, "key", function(key) return "sample:" .. key end)
  test.replace(cache, "command", function(...)
    table.insert(asked, { ... })
    local answer = answers[math.min(#asked, #answers)]
    if fault.is(answer) then
      return nil, answer
    end
    return answer
  end)
  return asked
end

test.case("what the script lets through is let through", function()
  local asked = redis(0)
  test.equal({ rate.take("user:1", 30, 60) }, { true })
  local name, _, keys, key, limit, window_us = unpack(asked[1])
  test.equal({ name, keys, key, limit, window_us },
    { "EVAL", 1, "sample:rate:user:1", 30, "60000000" })
end)

test.case("a refusal says after how many whole seconds there is room", function()
  redis(1, 1e6, 1000001, 59.2e6)
  for _, expected in ipairs { 1, 1, 2, 60 } do
    test.equal({ rate.take("user:1", 30, 60) }, { false, expected })
  end
end)

test.case("one round trip decides: two cannot both take the last place", function()
  local asked = redis(0)
  rate.take("user:1", 1, 60)
  test.equal(#asked, 1)
end)

test.case("without Redis everything is let through, and that is said once", function()
  redis(fault.new("unavailable", "down"), fault.new("timeout", "slow"), 0, 0)
  for _ = 1, 4 do
    test.equal({ rate.take("user:1", 1, 60) }, { true })
  end
  local logs = test.logs()
  test.equal(#logs, 2)
  test.equal({ logs[1].severity, logs[1].message, logs[1].attributes.kind },
    { "warn", "rate limits lost, going on without", "unavailable" })
  test.equal(logs[2].message, "rate limits are back")
end)

test.case("a service that was given no Redis goes on as well", function()
  test.replace(cache, "key", function(key) return key end)
  test.replace(cache, "command", function() fault.raise("unavailable", "no Redis") end)
  test.equal({ rate.take("user:1", 1, 60) }, { true })
end)

test.case("a limit of nothing is a mistake of the caller", function()
  redis(0)
  for _, wrong in ipairs { { 0, 60 }, { 1.5, 60 }, { 1, 0 }, { 1, 0 / 0 } } do
    local ok, why = pcall(rate.take, "user:1", wrong[1], wrong[2])
    test.equal(ok, false)
    test.match(why, "a limit is")
  end
end)

return test.suite()
