-- Payments: charges at most once, gives back at most what was charged, and says honestly
-- when it does not know.
local app = require "app"
local fault = require "fault"
local flow = require "flow"
local instrument = require "instrument"
local json = require "json"
local leader = require "leader"
local page = require "page"
local reconcile = require "reconcile"
local refund_store = require "refund_store"
local refunds = require "refunds"
local series = require "series"
local shape = require "shape"
local store = require "store"

local payments = app.service("payments", { auth = "bearer" })

local who_pays = { "service", "operator", "admin" }
local sees_all = { service = true, operator = true, admin = true }

local amount = shape.integer(1, 1e12) -- minor units
local order_id = shape.text(1, 64)
local currency = shape.one_of(series.currencies)
local method = shape.one_of(instrument.methods)
local country = shape.text(2, 2, "^%u%u$", "two capital letters")
local by_id = shape.object { id = shape.uuid }
local by_order = shape.object { id = order_id }
local status = shape.one_of {
  "pending", "captured", "declined", "failed", "uncertain", "refunded",
}

local request = shape.object {
  order_id = order_id, customer_id = shape.uuid, amount = amount, currency = currency,
  method = method, country = shape.optional(country), card = instrument.shapes.card,
  paypal = instrument.shapes.paypal, bank_transfer = instrument.shapes.bank_transfer,
}

local refund_request = shape.object {
  amount = shape.optional(amount), reason = shape.optional(shape.text(1, 200)),
}

local refund = shape.object {
  id = shape.uuid, payment_id = shape.uuid, amount = amount,
  status = shape.one_of { "pending", "done", "failed", "uncertain" },
  reason = shape.optional(shape.text(1, 200)), code = shape.optional(shape.text(1, 100)),
  created_at = shape.time, updated_at = shape.time,
}

-- What the outside sees of a payment; with its refunds where one is asked for by id.
local function payment_with(more)
  local fields = {
    id = shape.uuid, order_id = order_id, customer_id = shape.uuid, status = status,
    amount = amount, refunded = shape.integer(0, 1e12), currency = currency,
    method = method, country = shape.optional(country),
    decline_code = shape.optional(shape.text(1, 100)), card = instrument.views.card,
    paypal = instrument.views.paypal, bank_transfer = instrument.views.bank_transfer,
    created_at = shape.time, updated_at = shape.time,
  }
  for name, field in pairs(more or {}) do
    fields[name] = field
  end
  return shape.object(fields)
end

local payment = payment_with()

local function view(row)
  local seen = instrument.view(row)
  for _, name in ipairs { "id", "order_id", "customer_id", "status", "amount", "refunded",
    "currency", "method", "country", "created_at", "updated_at" } do
    seen[name] = row[name]
  end
  seen.decline_code = row.code
  return seen
end

local function view_refund(row)
  local seen = {}
  for _, name in ipairs { "id", "payment_id", "amount", "status", "reason", "code",
    "created_at", "updated_at" } do
    seen[name] = row[name]
  end
  return seen
end

local function may_see(user, row)
  return row.customer_id == user.sub or sees_all[user.role]
end

local function failed(row, kind, detail, code)
  local charged
  if kind ~= "uncertain" then
    charged = false
  end
  return fault.new(kind, detail, {
    status = code, charged = charged, payment_id = row.id, payment_status = row.status,
    decline_code = row.code,
  })
end

-- The payment as an answer: captured is 201, everything else the failure it stands for.
local function respond(row)
  if row.status == "captured" or row.status == "refunded" then
    return 201, view(row), { Location = "/api/v1/payments/" .. row.id }
  elseif row.status == "declined" then
    return failed(row, "refused", "the payment was declined: " .. row.code, 402)
  elseif row.status == "failed" then
    return failed(row, "unavailable", "the card network failed; nothing was charged")
  end
  return failed(row, "uncertain", "no answer in time; it may have been charged")
end

payments:post("/api/v1/payments", {
  auth = who_pays, body = request, once_by = "idempotency-key",
  summary = "Charges a card, a PayPal account or a bank account once",
  answers = { [201] = payment }, faults = { 402, 409 },
}, function(req)
  local problems = instrument.problems(req.body)
  if problems[1] then
    return app.rejected(problems)
  end
  local row, why = flow.pay(req.user.sub, req.once_key, req.body)
  if not row then
    return why
  end
  return respond(row)
end)

payments:get("/api/v1/payments", {
  query = page.query {
    status = shape.optional(status), order_id = shape.optional(order_id),
    method = shape.optional(method), customer_id = shape.optional(shape.uuid),
  },
  summary = "Lists payments, the newest first",
  answers = { [200] = page.of(payment) },
}, function(req)
  local owner = not sees_all[req.user.role] and req.user.sub or nil
  local rows = store.list(owner, req.query, page.before(req), req.query.limit + 1)
  return 200, page.answer(rows, req, view)
end)

payments:get("/api/v1/payments/:id", {
  path = by_id,
  summary = "Shows a payment with its refunds",
  answers = { [200] = payment_with { refunds = shape.list(refund, 0, 1000) } },
  faults = { 404 },
}, function(req)
  local row = store.find(req.path.id)
  if not row or not may_see(req.user, row) then
    return fault.new("missing", "there is no such payment")
  end
  local seen = view(row)
  seen.refunds = json.array {}
  for i, one in ipairs(refund_store.of_payment(row.id)) do
    seen.refunds[i] = view_refund(one)
  end
  return 200, seen
end)

payments:get("/api/v1/payments/order/:id", {
  path = by_order,
  summary = "Lists the payments of an order, also those that came to nothing",
  answers = { [200] = shape.object { items = shape.list(payment, 0, 1000) } },
}, function(req)
  local items = json.array {}
  for _, row in ipairs(store.by_order(req.path.id)) do
    if may_see(req.user, row) then
      table.insert(items, view(row))
    end
  end
  return 200, { items = items }
end)

payments:post("/api/v1/payments/order/:id/void", {
  auth = { "service", "admin" }, path = by_order,
  summary = "Gives an order up: from now on no payment of it is taken, unless one was",
  answers = { [200] = shape.object {
    status = shape.one_of { "captured", "none", "open" },
    payment_id = shape.optional(shape.uuid), amount = shape.optional(amount),
    refunded = shape.optional(shape.integer(0, 1e12)),
  } },
}, function(req)
  return 200, flow.void(req.path.id)
end)

payments:post("/api/v1/payments/:id/refund", {
  auth = who_pays, path = by_id, body = refund_request, once_by = "idempotency-key",
  summary = "Gives captured money back, all that is left or a part of it",
  answers = { [201] = refund }, faults = { 404, 409 },
}, function(req)
  local row, why = refunds.give(req.user.sub, req.once_key, req.path.id, req.body)
  if not row then
    return why
  elseif row.status == "failed" then
    return fault.new("refused", "the card network refused the refund: " .. row.code, {
      refund_id = row.id, payment_id = row.payment_id,
    })
  end
  return 201, view_refund(row), { Location = "/api/v1/payments/" .. row.payment_id }
end)

leader.every(payments, "reconciliation", 5, reconcile.run)

return payments
