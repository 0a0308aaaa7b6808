-- Messages go to the exchange of events unless said otherwise.
local fault = require "fault"
local queue = require "queue"
local test = require "test"

test.case("a message is JSON and goes to events", function()
  local sent
  test.replace(queue, "send", function(message)
    sent = message
    return true
  end)
  test.equal(queue.publish("a.b", { n = 1 }, { message_id = "m" }), true)
  test.equal(sent, {
    exchange = "events", routing_key = "a.b", body = '{"n":1}', message_id = "m",
  })
end)

test.case("a message that was given no id has one of its own", function()
  local ids = {}
  test.replace(queue, "send", function(message)
    ids[#ids + 1] = message.message_id
    return true
  end)
  queue.publish("a.b", {})
  queue.publish("a.b", {})
  test.match(ids[1], "^%x+%-%x+%-%x+%-%x+%-%x+$")
  test.equal(ids[1] ~= ids[2], true)
end)

test.case("why it was not taken is the caller's to decide", function()
  test.replace(queue, "send", function() return nil, fault.new("unavailable", "away") end)
  test.fails(function() return queue.publish("a.b", {}) end, "unavailable")
end)

return test.suite()
