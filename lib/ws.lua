-- Pushing to WebSocket clients: a channel is a name that connections joined when
-- accepted.
local json = require "json"
local native = require "native.ws"

local ws = {}

---@type fun(channel: string, text: string)
ws.broadcast = native.broadcast

--- Sends a message, as JSON, to every connection of this process that joined the channel.
---@param channel string
---@param message table
function ws.push(channel, message)
  ws.broadcast(channel, json.encode(message))
end

return ws
