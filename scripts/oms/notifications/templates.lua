-- What the messages say. {{name}} is filled by lib/template.lua.
local template = require "template"

local templates = {}

local texts = {
  order_created = {
    subject = "Your order {{order_id}}",
    body = [[
Hello,

thank you for your order {{order_id}} of {{created_at}}.

{{lines}}

Total: {{total}}

We will write again when it is on its way.
]],
  },
}

-- 1234, "USD" -> "12.34 USD"
local function money(amount, currency)
  return ("%d.%02d %s"):format(math.floor(amount / 100), amount % 100, currency)
end

--- Subject and body of the message about a new order.
---@param event table
---@return {template: string, subject: string, body: string}
function templates.order_created(event)
  local lines = {}
  for i, item in ipairs(event.items) do
    lines[i] = ("  %d x %s at %s"):format(item.quantity, item.sku,
      money(item.unit_price, event.currency))
  end
  local values = {
    order_id = event.order_id,
    created_at = event.created_at,
    lines = table.concat(lines, "\n"),
    total = money(event.total, event.currency),
  }
  local text = texts.order_created
  return {
    template = "order_created",
    subject = template.render(text.subject, values, template.line),
    body = template.render(text.body, values),
  }
end

return templates
