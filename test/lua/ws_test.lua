-- A push is JSON, to a channel.
local test = require "test"
local ws = require "ws"

test.case("a message goes out as JSON", function()
  local sent
  test.replace(ws, "broadcast", function(channel, text) sent = { channel, text } end)
  ws.push("user:1", { type = "ping" })
  test.equal(sent, { "user:1", '{"type":"ping"}' })
end)

return test.suite()
