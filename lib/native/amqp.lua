---@meta native.amqp
-- RabbitMQ: publishing with the broker's confirm, and how full a queue is. Services use
-- lib/queue.lua.

---@class native.message
---@field exchange? string "events"
---@field routing_key string
---@field body string
---@field headers? table<string, string> at most 60
---@field message_id? string
---@field content_type? string "application/json"

local amqp = {}

--- Waits for the broker's confirm, 5 s at most. The trace context travels along.
---@param message native.message
---@return true? done
---@return fault? why
function amqp.publish(message) end

--- How many messages are ready in a queue; missing: there is no such queue.
---@param queue string
---@return integer? count
---@return fault? why
function amqp.depth(queue) end

return amqp
