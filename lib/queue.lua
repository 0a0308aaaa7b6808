-- Messages through RabbitMQ. Exchange "events" is a durable topic exchange. A service
-- that must not lose an event when it stops between its commit and its publish uses
-- `outbox` instead.
local json = require "json"
local native = require "native.amqp"
local random = require "random"

local queue = {}

---@type fun(message: table): true?, fault?
queue.send = native.publish

--- Publishes and waits for the broker's confirm. The trace context travels along. Every
--- message has an id: by it consumers know it again, and `orrery dead` finds it.
---@param routing_key string
---@param body table
---@param options? {exchange?: string, message_id?: string, headers?: table}
---@return true? done
---@return fault? why
function queue.publish(routing_key, body, options)
  options = options or {}
  return queue.send {
    exchange = options.exchange or "events",
    routing_key = routing_key,
    body = json.encode(body),
    message_id = options.message_id or random.uuid(),
    headers = options.headers,
  }
end

--- How many messages wait in a queue.
---@type fun(queue: string): integer?, fault?
queue.depth = native.depth

return queue
