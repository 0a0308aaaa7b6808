-- Notifications: tells a customer about an order once, by mail and on the screen.
local app = require "app"
local db = require "db"
local fault = require "fault"
local json = require "json"
local jwt = require "jwt"
local mail = require "mail"
local metrics = require "metrics"
local queue = require "queue"
local random = require "random"
local shape = require "shape"
local store = require "store"
local templates = require "templates"
local ws = require "ws"

local notifications = app.service("notifications", { auth = "bearer" })

local sent = metrics.counter("notifications_sent_total",
  "Notifications sent, by type and outcome.", { "type", "status" })
local waiting = metrics.gauge("notification_queue_size",
  "Events that wait to be told.")
local connections = metrics.gauge("websocket_connections_current",
  "Clients connected to /ws.")
sent:zero("email", "sent")
sent:zero("email", "failed")

local queue_name = "notifications.order-created"

local item = shape.object({
  sku = shape.text(1, 64),
  quantity = shape.integer(1, 1e9),
  unit_price = shape.integer(0, 1e15),
}, "drop")

local order_created = shape.object({
  event_id = shape.uuid,
  order_id = shape.text(1, 64),
  customer_id = shape.uuid,
  email = shape.email,
  items = shape.list(item, 1, 1000),
  total = shape.integer(0, 1e15),
  currency = shape.text(3, 3),
  status = shape.text(1, 20),
  created_at = shape.text(1, 40),
}, "drop")

local page = shape.object {
  limit = shape.optional(shape.integer(1, 100), 20),
  cursor = shape.optional(shape.integer(1, 2 ^ 53)),
}
local by_id = shape.object { id = shape.uuid }

-- The row is written first and committed last. Whoever gets the event a second time waits
-- for that and finds it taken; whoever stops in between leaves nothing, and it comes
-- again.
local function tell(event)
  local message = templates.order_created(event)
  message.id, message.event_id, message.type = random.uuid(), event.event_id, "email"
  message.user_id, message.order_id = event.customer_id, event.order_id
  message.recipient = event.email
  return db.tx(function(tx)
    local row = store.add(tx, message)
    if row then
      mail.send(message)
    end
    return { first = row ~= nil, id = message.id }
  end)
end

notifications:consume(queue_name, { bind = { "order.created" } }, function(message)
  local event, errors = shape.check(order_created, message.body)
  if not event then
    fault.raise("bad_input", "order.created: " .. errors[1].field)
  end
  local told = tell(event)
  if told.first then
    sent:inc("email", "sent")
    ws.push("user:" .. event.customer_id, {
      type = "order.created", order_id = event.order_id, status = event.status,
      total = event.total, currency = event.currency, created_at = event.created_at,
      notification_id = told.id,
    })
  end
end)

-- Browsers cannot send headers with a WebSocket, so the token may stand in the query.
notifications:ws("/ws", {
  accept = function(req)
    local claims, why
    if req.query.access_token then
      claims, why = jwt.verify(req.query.access_token)
    else
      claims, why = jwt.of_request(req)
    end
    if not claims then
      return why
    end
    return { channels = { "user:" .. claims.sub } }
  end,
  open = function()
    connections:add(1)
  end,
  close = function()
    connections:add(-1)
  end,
})

-- What the outside sees of a notification.
local function view(row)
  return {
    id = row.id, order_id = row.order_id, type = row.type, template = row.template,
    recipient = row.recipient, subject = row.subject, body = row.body,
    status = row.status, created_at = row.created_at,
  }
end

notifications:get("/api/v1/notifications", { query = page }, function(req)
  local limit = req.query.limit
  local rows = store.list(req.user.sub, req.query.cursor, limit)
  local items = json.array {}
  for i = 1, math.min(#rows, limit) do
    items[i] = view(rows[i])
  end
  local more = #rows > limit and rows[limit]
  return 200, { items = items, next_cursor = more and ("%.0f"):format(more.seq) or nil }
end)

notifications:get("/api/v1/notifications/:id", { path = by_id }, function(req)
  local row = store.find(req.path.id)
  if not row or row.user_id ~= req.user.sub and req.user.role ~= "admin" then
    return fault.new("missing", "there is no such notification")
  end
  return 200, view(row)
end)

notifications:every("queue_size", 5, function()
  local count, why = queue.depth(queue_name)
  if not count then
    fault.raise(why.kind, why.detail)
  end
  waiting:set(count)
end)

return notifications
