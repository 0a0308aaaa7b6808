-- What is said: templates/ has the words, one file a template; here they get values.
local template = require "template"

local messages = {}

local templates = {
  low_stock = require "templates.low_stock",
  order_cancelled = require "templates.order_cancelled",
  order_created = require "templates.order_created",
  order_delivered = require "templates.order_delivered",
  order_shipped = require "templates.order_shipped",
  plain = require "templates.plain",
}

--- The names of all templates, sorted.
messages.names = {}
for name in pairs(templates) do
  table.insert(messages.names, name)
end
table.sort(messages.names)

--- The values that a message of this type needs.
---@param name string
---@param type "email"|"sms"
---@return string[]
function messages.holes(name, type)
  local words = templates[name]
  return template.holes(type == "sms" and words.sms or words.subject .. words.body)
end

--- Subject (of mails) and body.
---@param name string
---@param type "email"|"sms"
---@param values table<string, any>
---@return {template: string, type: string, subject?: string, body: string}
function messages.compose(name, type, values)
  local words, message = templates[name], { template = name, type = type }
  if type == "sms" then
    message.body = template.render(words.sms, values)
  else
    message.subject = template.render(words.subject, values, template.line)
    message.body = template.render(words.body, values)
  end
  return message
end

-- 1234, "USD" -> "12.34 USD"
local function money(amount, currency)
  return ("%d.%02d %s"):format(math.floor(amount / 100), amount % 100, currency)
end

--- The values of an event about an order.
---@param event table
---@return table<string, string>
function messages.of_order(event)
  local lines = {}
  for i, item in ipairs(event.items) do
    lines[i] = ("  %d x %s at %s"):format(item.quantity, item.sku,
      money(item.unit_price, event.currency))
  end
  return {
    order_id = event.order_id,
    created_at = event.created_at,
    lines = table.concat(lines, "\n"),
    total = money(event.total, event.currency),
    reason = event.reason or "on request",
  }
end

return messages
