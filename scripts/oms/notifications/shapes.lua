-- What comes in, and what goes out.
local messages = require "messages"
local page = require "page"
local shape = require "shape"
local version = require "version"

local shapes = {}

local types = shape.one_of { "email", "sms" }
local statuses = shape.one_of { "queued", "sent", "failed", "suppressed" }
local order_id = shape.text(1, 64)
local phone = shape.text(8, 16, "^%+[1-9]%d+$", "a phone number like +15550100123")
local sms_max = 480 -- characters; a phone network would cut it into pieces

local item = shape.object({
  sku = shape.text(1, 64),
  quantity = shape.integer(1, 1e9),
  unit_price = shape.integer(0, 1e15),
}, "drop")

shapes.order_event = shape.object({
  event_id = shape.uuid,
  order_id = order_id,
  customer_id = shape.uuid,
  email = shape.email,
  items = shape.list(item, 1, 1000),
  total = shape.integer(0, 1e15),
  currency = shape.text(3, 3),
  status = shape.text(1, 20),
  created_at = shape.text(1, 40),
  previous_status = shape.optional(shape.text(1, 20)),
  reason = shape.optional(shape.text(1, 500)),
}, "drop")

shapes.low_stock_event = shape.object({
  event_id = shape.uuid,
  sku = shape.text(1, 64),
  name = shape.text(1, 200),
  available = shape.integer(-1e15, 1e15),
  threshold = shape.integer(0, 1e15),
}, "drop")

-- Either a template with its values, or a text; flow.lua knows the latter as "plain".
shapes.request = shape.object {
  user_id = shape.uuid,
  channel = types,
  recipient = shape.example(shape.text(1, 254), "demo@orrery.test"),
  template = shape.optional(shape.one_of(messages.names)),
  values = shape.optional(shape.map(shape.text(0, 2000))),
  subject = shape.optional(shape.text(1, 200)),
  body = shape.optional(shape.text(1, 10000)),
}

--- What a recipient looks like, by channel.
shapes.recipients = { email = shape.email, sms = phone }

--- The text of a text message.
shapes.sms_body = shape.text(1, sms_max)

shapes.by_id = shape.object { id = shape.uuid }

shapes.listed = page.query {
  type = shape.optional(types),
  status = shape.optional(statuses),
  order_id = shape.optional(order_id),
  user_id = shape.optional(shape.uuid),
}

shapes.notification = shape.object {
  id = shape.uuid,
  user_id = shape.uuid,
  order_id = shape.optional(order_id),
  type = types,
  template = shape.text(1, 40),
  recipient = shape.text(1, 254),
  subject = shape.optional(shape.text(0, 1e5)),
  body = shape.text(0, 1e6),
  status = statuses,
  attempts = shape.integer(0, 100),
  created_at = shape.time,
  sent_at = shape.optional(shape.time),
}

--- What the outside sees of one.
function shapes.view(row)
  return {
    id = row.id, user_id = row.user_id, order_id = row.order_id, type = row.type,
    template = row.template, recipient = row.recipient, subject = row.subject,
    body = row.body, status = row.status, attempts = row.attempts,
    created_at = row.created_at, sent_at = row.sent_at,
  }
end

shapes.preferred = shape.object {
  email = shape.boolean,
  sms = shape.boolean,
  phone = shape.optional(phone),
  version = version.body,
}

shapes.preferences = shape.object {
  email = shape.boolean,
  sms = shape.boolean,
  phone = shape.optional(phone),
  version = shape.integer(1, 2 ^ 31 - 1),
}

function shapes.preferences_view(row)
  return { email = row.email, sms = row.sms, phone = row.phone, version = row.version }
end

return shapes
