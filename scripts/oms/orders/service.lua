-- Orders: takes an order at most once, sees it through stock and payment, then announces
-- it.
local app = require "app"
local cache = require "cache"
local clock = require "clock"
local fault = require "fault"
local flow = require "flow"
local metrics = require "metrics"
local outbox = require "outbox"
local shape = require "shape"
local store = require "store"

local orders = app.service("orders", { auth = "bearer" })
local relay = outbox.start(orders)

local created = metrics.counter("orders_created_total", "Orders confirmed.")
local by_status = metrics.gauge("orders_by_status", "Orders, by status.", { "status" })
local processing = metrics.histogram("order_processing_duration_seconds",
  "Time from the request to the confirmed order.")

local statuses = { "pending", "processing", "shipped", "delivered", "cancelled" }
for _, status in ipairs(statuses) do
  by_status:zero(status)
end

local cache_ttl_s = 5

local line = shape.object { sku = shape.text(1, 32), quantity = shape.integer(1, 1000) }
local card = shape.object {
  number = shape.text(12, 19, "^%d+$", "12 to 19 digits"),
  exp_month = shape.integer(1, 12),
  exp_year = shape.integer(2000, 2100),
  cvc = shape.text(3, 4, "^%d+$", "3 or 4 digits"),
}
local order = shape.object {
  items = shape.list(line, 1, 50),
  currency = shape.one_of { "USD" },
  payment = shape.object { method = shape.one_of { "card" }, card = card },
}
local by_id = shape.object { id = shape.uuid }

-- What the outside sees of an order.
local function view(row)
  return {
    id = row.id, customer_id = row.customer_id, status = row.status, items = row.items,
    total = row.total, currency = row.currency, payment_id = row.payment_id,
    failure = row.failure, created_at = row.created_at, updated_at = row.updated_at,
  }
end

orders:post("/api/v1/orders", { body = order, once_by = "idempotency-key" }, function(req)
  local started = clock.mono()
  local done, why = flow.place {
    user = req.user, key = req.once_key, body = req.body,
    authorization = req.headers.authorization,
  }
  if not done then
    return why
  end
  if not done.again then
    created:inc()
    processing:observe(clock.mono() - started)
    relay:wake()
  end
  return 201, view(done.order), { Location = "/api/v1/orders/" .. done.order.id }
end)

orders:get("/api/v1/orders/:id", { path = by_id }, function(req)
  local found = cache.fetch("order:" .. req.path.id, cache_ttl_s, function()
    local row = store.find(req.path.id)
    return row and view(row)
  end)
  if not found or found.customer_id ~= req.user.sub and req.user.role ~= "admin" then
    return fault.new("missing", "there is no such order") -- strangers learn no more
  end
  return 200, found
end)

orders:every("orders_by_status", 5, function()
  local count = {}
  for _, row in ipairs(store.counts()) do
    count[row.status] = row.n
  end
  for _, status in ipairs(statuses) do
    by_status:set(count[status] or 0, status)
  end
end)

return orders
