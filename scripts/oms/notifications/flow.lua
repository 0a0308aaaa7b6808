-- The story of a notification:
--
--   look: how does the customer want to be told      nothing is written
--   one transaction: a row for each type             the event is taken
--   push to the screen, send                         each row is settled
--
-- A second delivery of an event finds its rows and does nothing more. What ends between
-- the transaction and the sending leaves queued rows, and sender.lua goes on with them;
-- the push to the screen is then lost, and the list has what it would have shown.
local app = require "app"
local conf = require "conf"
local crypto = require "crypto"
local db = require "db"
local fault = require "fault"
local json = require "json"
local messages = require "messages"
local random = require "random"
local rate = require "rate"
local sender = require "sender"
local store = require "store"
local trace = require "trace"
local ws = require "ws"

local flow = {}

local per_minute = conf.option("rate_limit_per_minute", 30)
local stock_recipient = conf.option("low_stock_recipient", "stock@orrery.test")

--- Whose notifications are those to the staff.
flow.staff_id = "00000000-0000-0000-0000-000000000000"

--- What a customer gets who never said what he wants.
flow.usual = { email = true, sms = false, version = 1 }

-- One limit a customer, for all that is no mail about his orders.
local function take_place(user_id)
  return rate.take("user:" .. user_id, per_minute, 60)
end

-- A message becomes a row.
local function make(message, more)
  message.id, message.status = random.uuid(), message.status or "queued"
  message.traceparent, message.tracestate = trace.context()
  for name, value in pairs(more) do
    message[name] = value
  end
  return message
end

-- Writes the rows and pushes, then sends. The first row stands for the event: when it is
-- there already, everything was done before.
local function tell(rows, channel, push)
  local taken = db.tx(function(tx)
    for _, row in ipairs(rows) do
      if not store.add(tx, row, sender.held_s) then
        return false
      end
      row.attempts = 0
    end
    return true
  end)
  if not taken then
    return
  end
  push.notification_id = rows[1].id
  ws.push(channel, push)
  sender.count("websocket", "sent")
  local queued = {}
  for _, row in ipairs(rows) do
    if row.status == "queued" then
      table.insert(queued, row)
    else
      sender.count(row.type, row.status)
    end
  end
  sender.attempt_all(queued)
end

--- Tells a customer about his order.
---@param kind string the event's routing key, "order.created"
---@param event table
function flow.order(kind, event)
  if kind == "order.cancelled" and event.previous_status == "pending" then
    return -- he was told by the answer to his request, and never that there is an order
  end
  local wants = store.preferences(event.customer_id) or flow.usual
  local name, values = kind:gsub("%.", "_"), messages.of_order(event)
  local about = {
    event_id = event.event_id, user_id = event.customer_id, order_id = event.order_id,
  }
  local mail = messages.compose(name, "email", values)
  mail.recipient, mail.status = event.email, wants.email and "queued" or "suppressed"
  local rows = { make(mail, about) }
  if wants.sms then
    local text = messages.compose(name, "sms", values)
    text.recipient = wants.phone
    text.status = take_place(event.customer_id) and "queued" or "suppressed"
    rows[2] = make(text, about)
  end
  tell(rows, "user:" .. event.customer_id, {
    type = kind, order_id = event.order_id, status = event.status, total = event.total,
    currency = event.currency, created_at = event.created_at, reason = event.reason,
  })
end

--- Tells the staff that a product runs out.
---@param event table
function flow.low_stock(event)
  local mail = messages.compose("low_stock", "email", event)
  mail.recipient = stock_recipient
  local row = make(mail, { event_id = event.event_id, user_id = flow.staff_id })
  tell({ row }, "staff", {
    type = "inventory.low_stock", sku = event.sku, name = event.name,
    available = event.available, threshold = event.threshold,
  })
end

-- What makes two requests the same.
local function fingerprint(body)
  local parts, names = json.array {}, {}
  for name in pairs(body.values) do
    names[#names + 1] = name
  end
  table.sort(names)
  for _, part in ipairs { body.user_id, body.channel, body.recipient, body.template } do
    table.insert(parts, part)
  end
  for _, name in ipairs(names) do
    table.insert(parts, name)
    table.insert(parts, body.values[name])
  end
  return crypto.fingerprint(json.encode(parts))
end

-- The same key again: what came of it the first time.
local function repeated(row, hash)
  if row.request_hash ~= hash then
    return nil, app.rejected { {
      field = "Idempotency-Key", message = "was used for another notification",
    } }
  end
  return row
end

--- Takes what somebody asks for, to be sent by the sender: its row, or nil, why.
---@param asker string
---@param key string the Idempotency-Key
---@param body {user_id: string, channel: string, recipient: string, template: string,
---  values: table<string, string>}
---@return table? row
---@return fault? why
function flow.request(asker, key, body)
  local hash, before = fingerprint(body), store.asked(asker, key)
  if before then
    return repeated(before, hash)
  end
  local free, wait_s = take_place(body.user_id)
  if not free then
    return nil, fault.new("limit", "this user gets no more for the moment", {
      headers = { ["Retry-After"] = ("%d"):format(wait_s) },
    })
  end
  local row = make(messages.compose(body.template, body.channel, body.values), {
    user_id = body.user_id, recipient = body.recipient,
    requested_by = asker, idempotency_key = key, request_hash = hash,
  })
  local added = db.tx(function(tx)
    return store.add(tx, row, 0)
  end)
  if not added then -- somebody with the same key was faster
    return repeated(store.asked(asker, key), hash)
  end
  return added
end

return flow
