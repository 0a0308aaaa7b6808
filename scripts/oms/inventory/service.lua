-- Inventory: knows what is on the shelves and promises it to one order at a time.
local app = require "app"
local cache = require "cache"
local conf = require "conf"
local fault = require "fault"
local metrics = require "metrics"
local shape = require "shape"
local stock = require "stock"
local store = require "store"

local inventory = app.service("inventory", { auth = "bearer" })

local level = metrics.gauge("inventory_stock_level",
  "Units that can be sold, by product and warehouse.", { "sku", "warehouse" })
local reservations = metrics.counter("inventory_reservations_total", "Reservations made.")
local low = metrics.gauge("inventory_low_stock_items",
  "Products with no more units left than their threshold.")
local durations = metrics.histogram("inventory_operations_duration_seconds",
  "Duration of inventory operations.", { "operation" },
  { 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5 })
for _, operation in ipairs { "get", "reserve", "release", "sell" } do
  durations:zero(operation)
end

local cache_ttl_s = 5
local hold_ttl_s = conf.option("hold_ttl_s", 900)

local sku = shape.text(1, 32)
local one_item = shape.object { sku = sku }
local order_id = shape.text(1, 64)
local line = shape.object { sku = sku, quantity = shape.integer(1, 1000) }
local reservation = shape.object { order_id = order_id, items = shape.list(line, 1, 50) }
local one_order = shape.object { order_id = order_id }
local confirmed = shape.object({ order_id = order_id }, "drop")

local function forget(lines)
  for _, entry in ipairs(lines) do
    cache.drop("item:" .. entry.sku)
  end
end

local function position(items, wanted)
  for i, item in ipairs(items) do
    if item.sku == wanted then
      return i - 1
    end
  end
end

inventory:get("/api/v1/inventory/:sku", { path = one_item }, function(req)
  local item = metrics.time(durations, function()
    return cache.fetch("item:" .. req.path.sku, cache_ttl_s, function()
      return store.item(req.path.sku)
    end)
  end, "get")
  if not item then
    return fault.new("missing", "no product has the SKU " .. req.path.sku)
  end
  return 200, item
end)

inventory:post("/api/v1/inventory/reserve", { body = reservation }, function(req)
  local items = req.body.items
  local held, why = metrics.time(durations, function()
    return stock.reserve {
      order_id = req.body.order_id, items = items, ttl_s = hold_ttl_s,
    }
  end, "reserve")
  if held then
    reservations:inc()
    forget(items)
    return 201, held
  elseif why.kind == "missing" then
    local at = position(items, why.sku) or 0
    return app.rejected { {
      field = ("items[%d].sku"):format(at), message = "is not a known product",
    } }
  end
  return why
end)

inventory:post("/api/v1/inventory/release", { body = one_order }, function(req)
  local done, why = metrics.time(durations, function()
    return stock.release(req.body.order_id)
  end, "release")
  if not done and why.kind == "missing" then
    return 200, { released = false }
  elseif not done then
    return why
  end
  forget(store.skus_of(req.body.order_id))
  return 200, done
end)

-- The money is taken: what was promised is now sold. Once, however often the event comes.
inventory:consume("inventory.order-confirmed", { bind = { "order.confirmed" } },
  function(message)
    local event, errors = shape.check(confirmed, message.body)
    if not event then
      fault.raise("bad_input", "order.confirmed: " .. errors[1].field)
    end
    local done, why = metrics.time(durations, function()
      return stock.sell(event.order_id)
    end, "sell")
    if not done then
      fault.raise(why.kind, why.detail) -- again later, and then into the dead letters
    end
    forget(store.skus_of(event.order_id))
  end)

inventory:every("levels", 5, function()
  for _, row in ipairs(store.levels()) do
    level:set(row.available, row.sku, row.warehouse)
  end
  low:set(store.low_count())
end)

return inventory
