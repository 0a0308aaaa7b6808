---@meta native.ws
-- WebSockets.

---@class connection as open, message and close get it
---@field id integer
---@field state table the script's own
---@field channels string[] as accept gave them
local conn = {}

--- A table is sent as JSON. False: the connection is gone, or its queue is full.
---@param text string|table
---@return boolean sent
function conn:send(text) end

---@param code? integer 1000
function conn:close(code) end

local ws = {}

--- To every connection that joined the channel: of this process at once, of the others
--- that serve the same through Redis. Never waits; nobody is told when Redis is down.
---@param channel string
---@param text string
function ws.broadcast(channel, text) end

return ws
