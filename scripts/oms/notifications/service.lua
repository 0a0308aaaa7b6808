-- Notifications: tells people once what happened: by mail, by text message and on the
-- screen.
local app = require "app"
local fault = require "fault"
local flow = require "flow"
local leader = require "leader"
local metrics = require "metrics"
local page = require "page"
local queue = require "queue"
local requests = require "requests"
local sender = require "sender"
local shape = require "shape"
local shapes = require "shapes"
local sockets = require "sockets"
local store = require "store"
local version = require "version"

local notifications = app.service("notifications", { auth = "bearer" })

local waiting = metrics.gauge("notification_queue_size",
  "Notifications that wait: messages in the queues, and what is not settled.")

local queue_name = "notifications.order-created"
local updates_name = "notifications.order-updates"
local stock_name = "notifications.low-stock"

local people = { "customer", "operator", "admin" }
local askers = { "service", "operator", "admin" }

-- They may see what anybody was told, too.
local function sees_all(user)
  for _, role in ipairs(askers) do
    if user.role == role then
      return true
    end
  end
  return false
end

-- The event, or a fault that sets the message aside.
local function read(expected, message)
  local event, errors = shape.check(expected, message.body)
  if not event then
    local first = errors[1]
    fault.raise("bad_input", ("%s: %s %s"):format(message.routing_key, first.field,
      first.message))
  end
  return event
end

local function tell_order(message)
  flow.order(message.routing_key, read(shapes.order_event, message))
end

notifications:consume(queue_name, { bind = { "order.created" } }, tell_order)

notifications:consume(updates_name, {
  bind = { "order.shipped", "order.delivered", "order.cancelled" },
}, tell_order)

notifications:consume(stock_name, { bind = { "inventory.low_stock" } }, function(message)
  flow.low_stock(read(shapes.low_stock_event, message))
end)

notifications:ws("/ws", sockets)

local sending = notifications:every("sender", 1, sender.run)

-- Who asks: all services have one id, so they are told apart by name.
local function asker(user)
  return user.role == "service" and "service " .. tostring(user.name) or user.sub
end

notifications:post("/api/v1/notifications/send", {
  summary = "Sends a mail or a text message to a user",
  auth = askers, body = shapes.request, once_by = "idempotency-key",
  answers = { [202] = shapes.notification }, faults = { 429 },
}, function(req)
  local asked, why = requests.read(req.body)
  if not asked then
    return why
  end
  local row
  row, why = flow.request(asker(req.user), req.once_key, asked)
  if not row then
    return why
  end
  sending:wake()
  return 202, shapes.view(row), { Location = "/api/v1/notifications/" .. row.id }
end)

notifications:get("/api/v1/notifications/preferences", {
  summary = "What the caller wants to be told by",
  auth = people, answers = { [200] = shapes.preferences }, faults = { 304 },
}, function(req)
  local row = store.preferences(req.user.sub) or flow.usual
  if version.fresh(req, row) then
    return 304, nil, version.headers(row)
  end
  return 200, shapes.preferences_view(row), version.headers(row)
end)

notifications:put("/api/v1/notifications/preferences", {
  summary = "Changes what the caller wants to be told by",
  auth = people, body = shapes.preferred,
  answers = { [200] = shapes.preferences }, faults = { 409, 412 },
}, function(req)
  local seen, why = version.expected(req)
  if not seen then
    return why
  elseif req.body.sms and not req.body.phone then
    return app.rejected { { field = "phone", message = "is required for sms" } }
  end
  local row = store.prefer(req.user.sub, req.body, seen)
  if not row then
    return version.lost(req)
  end
  return 200, shapes.preferences_view(row), version.headers(row)
end)

notifications:get("/api/v1/notifications", {
  summary = "What the caller was told, the newest first",
  query = shapes.listed, answers = { [200] = page.of(shapes.notification) },
  faults = { 403 },
}, function(req)
  local user, query = req.user, req.query
  local whose = query.user_id or user.sub
  if whose ~= user.sub and not sees_all(user) then
    return fault.new("denied", "only staff may ask for others", { status = 403 })
  end
  local rows = store.list(whose, query, page.before(req), query.limit + 1)
  return 200, page.answer(rows, req, shapes.view)
end)

notifications:get("/api/v1/notifications/:id", {
  summary = "One notification",
  path = shapes.by_id, answers = { [200] = shapes.notification }, faults = { 404 },
}, function(req)
  local row = store.find(req.path.id)
  if not row or row.user_id ~= req.user.sub and not sees_all(req.user) then
    return fault.new("missing", "there is no such notification")
  end
  return 200, shapes.view(row)
end)

notifications:every("queue_size", 5, function()
  local total = store.queued()
  for _, name in ipairs { queue_name, updates_name, stock_name } do
    local count, why = queue.depth(name)
    if not count then
      fault.raise(why.kind, why.detail)
    end
    total = total + count
  end
  waiting:set(total)
end)


-- The mock outside world remembers for a month.
leader.every(notifications, "forget", 3600, function()
  store.forget(30)
end)

return notifications
