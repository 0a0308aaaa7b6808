-- Payments: charges a card at most once, and says honestly when it does not know.
local app = require "app"
local card = require "card"
local fault = require "fault"
local flow = require "flow"
local json = require "json"
local metrics = require "metrics"
local shape = require "shape"
local store = require "store"

local payments = app.service("payments", { auth = "bearer" })

local processed = metrics.counter("payments_processed_total",
  "Payments processed, by outcome and method.", { "status", "method" })
local amount = metrics.counter("payment_amount_total",
  "Money captured, in minor units, by currency.", { "currency" })
metrics.counter("refunds_processed_total", "Refunds processed.")

local currencies = { "USD", "EUR", "GBP" }
for _, status in ipairs { "captured", "declined", "failed", "uncertain" } do
  processed:zero(status, "card")
end
for _, currency in ipairs(currencies) do
  amount:zero(currency)
end

local card_fields = shape.object {
  number = shape.text(12, 19, "^%d+$", "12 to 19 digits"),
  exp_month = shape.integer(1, 12),
  exp_year = shape.integer(2000, 2100),
  cvc = shape.text(3, 4, "^%d+$", "3 or 4 digits"),
}

local request = shape.object {
  order_id = shape.text(1, 64),
  amount = shape.integer(1, 1e12), -- minor units
  currency = shape.one_of(currencies),
  method = shape.one_of { "card" },
  card = card_fields,
}

local by_id = shape.object { id = shape.uuid }
local by_order = shape.object { id = shape.text(1, 64) }

-- What the outside sees of a payment.
local function view(row)
  return {
    id = row.id, order_id = row.order_id, status = row.status, amount = row.amount,
    currency = row.currency, method = row.method, decline_code = row.code,
    card = { brand = row.card_brand, last4 = row.card_last4 },
    created_at = row.created_at, updated_at = row.updated_at,
  }
end

local function may_see(user, row)
  return row.customer_id == user.sub or user.role == "admin"
end

local function failed(row, kind, detail, status)
  local charged
  if kind ~= "uncertain" then
    charged = false
  end
  return fault.new(kind, detail, {
    status = status, charged = charged, payment_id = row.id, payment_status = row.status,
    decline_code = row.code,
  })
end

-- The payment as an answer: captured is 201, everything else the failure it stands for.
local function respond(row)
  if row.status == "captured" then
    return 201, view(row), { Location = "/api/v1/payments/" .. row.id }
  elseif row.status == "declined" then
    return failed(row, "refused", "the card was declined: " .. row.code, 402)
  elseif row.status == "failed" then
    return failed(row, "unavailable", "the card network failed; nothing was charged")
  end
  return failed(row, "uncertain", "no answer in time; the card may have been charged")
end

payments:post("/api/v1/payments", { body = request, once_by = "idempotency-key" },
  function(req)
    local problems = card.problems(req.body.card)
    if problems[1] then
      return app.rejected(problems)
    end
    local done, why = flow.pay(req.user, req.once_key, req.body)
    if not done then
      return why
    end
    local row = done.payment
    if not done.again and row.status ~= "pending" then
      processed:inc(row.status, row.method)
      if row.status == "captured" then
        amount:add(row.amount, row.currency)
      end
    end
    return respond(row)
  end)

payments:get("/api/v1/payments/:id", { path = by_id }, function(req)
  local row = store.find(req.path.id)
  if not row or not may_see(req.user, row) then
    return fault.new("missing", "there is no such payment")
  end
  return 200, view(row)
end)

payments:get("/api/v1/payments/order/:id", { path = by_order }, function(req)
  local items = json.array {}
  for _, row in ipairs(store.by_order(req.path.id)) do
    if may_see(req.user, row) then
      table.insert(items, view(row))
    end
  end
  return 200, { items = items }
end)

return payments
