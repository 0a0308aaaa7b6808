-- What orders takes and what it answers.
local search = require "search"
local shape = require "shape"
local version = require "version"

local shapes = {}

local optional = shape.optional
local country = shape.text(2, 2, "^[A-Z][A-Z]$", "two letters from A to Z")
local note = shape.text(0, 500)
local methods = shape.one_of { "card", "paypal", "bank_transfer" }

local card = shape.object {
  number = shape.text(12, 19, "^%d+$", "12 to 19 digits"),
  exp_month = shape.integer(1, 12),
  exp_year = shape.integer(2000, 2100),
  cvc = shape.text(3, 4, "^%d+$", "3 or 4 digits"),
}

--- An order to be placed. The payment has the member that its method names.
shapes.order = shape.object {
  items = shape.list(
    shape.object { sku = shape.text(1, 32), quantity = shape.integer(1, 1000) }, 1, 50),
  currency = shape.one_of { "USD" },
  payment = shape.object {
    method = methods,
    card = optional(card),
    paypal = optional(shape.object { email = shape.email }),
    bank_transfer = optional(shape.object {
      iban = shape.text(15, 34, "^%u%u%d%d[%u%d]+$", "an IBAN without spaces"),
    }),
  },
  billing = optional(shape.object { country = country }),
  note = optional(note),
}

--- What is wrong with a payment that its shape cannot see.
---@param payment table
---@return {field: string, message: string}[]
function shapes.payment_problems(payment)
  local errors = {}
  for _, method in ipairs { "card", "paypal", "bank_transfer" } do
    local wanted, given = method == payment.method, payment[method] ~= nil
    if wanted ~= given then
      table.insert(errors, {
        field = "payment." .. method,
        message = wanted and "is required" or "does not go with " .. payment.method,
      })
    end
  end
  return errors
end

--- A change of an order. Other statuses than these are for nobody to set.
shapes.change = shape.object {
  version = version.body,
  status = optional(shape.one_of(search.statuses)),
  note = optional(note),
}

shapes.by_id = shape.object { id = shape.uuid }

--- The event inventory.hold_lost, as far as it matters here.
shapes.hold_lost = shape.object({ order_id = shape.uuid }, "drop")

local money = shape.integer(0, 2 ^ 53)

-- Why it was cancelled while it was pending; other members as the problem document has
-- them: decline_code, sku, charged ...
local failure = shape.object({ kind = shape.text(1, 20), detail = shape.any }, "drop")

--- What the outside sees of an order.
shapes.view = shape.object {
  id = shape.uuid,
  customer_id = shape.uuid,
  email = shape.email,
  status = shape.one_of(search.statuses),
  version = shape.integer(1, 2 ^ 31),
  items = shape.list(shape.object {
    sku = shape.text(1, 32), quantity = shape.integer(1, 1000), unit_price = money,
  }, 1, 50),
  total = money,
  currency = shape.text(3, 3),
  payment_method = methods,
  payment_id = optional(shape.uuid),
  billing = optional(shape.object { country = country }),
  note = optional(note),
  failure = optional(failure),
  cancel_reason = optional(shape.text(1, 20)),
  refund = optional(shape.one_of { "pending", "done" }),
  created_at = shape.time,
  updated_at = shape.time,
  cancelled_at = optional(shape.time),
}

-- How far the money of a cancelled order has got back.
local function refund_of(row)
  if row.status == "cancelled" and row.payment_id then
    return row.compensation and "pending" or "done"
  end
end

--- An order as shapes.view has it.
---@param row table
---@return table
function shapes.show(row)
  return {
    id = row.id, customer_id = row.customer_id, email = row.email, status = row.status,
    version = row.version, items = row.items, total = row.total, currency = row.currency,
    payment_method = row.method, payment_id = row.payment_id,
    billing = row.country and { country = row.country }, note = row.note,
    failure = row.failure, cancel_reason = row.cancel_reason, refund = refund_of(row),
    created_at = row.created_at, updated_at = row.updated_at,
    cancelled_at = row.cancelled_at,
  }
end

return shapes
