-- Pushing to WebSocket clients: a channel is a name that connections joined when
-- accepted. A push reaches those of this process at once, and those of the other
-- processes that serve the same through Redis; while that is down, it does not.
local json = require "json"
local native = require "native.ws"

local ws = {}

---@type fun(channel: string, text: string)
ws.broadcast = native.broadcast

--- Sends a message, as JSON, to every connection of the service that joined the channel.
---@param channel string
---@param message table
function ws.push(channel, message)
  ws.broadcast(channel, json.encode(message))
end

return ws
