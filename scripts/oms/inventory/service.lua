-- Inventory: knows what is on the shelves and promises it to one order at a time.
local app = require "app"
local by_sku = require "by_sku"
local cache = require "cache"
local conf = require "conf"
local fault = require "fault"
local flow = require "flow"
local leader = require "leader"
local metrics = require "metrics"
local outbox = require "outbox"
local page = require "page"
local shape = require "shape"
local shapes = require "shapes"
local store = require "store"

local inventory = app.service("inventory", { auth = "bearer" })

local level = metrics.gauge("inventory_stock_level",
  "Units that can be sold, by product and warehouse.", { "sku", "warehouse" })
local reservations = metrics.counter("inventory_reservations_total", "Reservations made.")
local low = metrics.gauge("inventory_low_stock_items",
  "Products with no more units left than their threshold.")

local cache_ttl_s = 5
local hold_ttl_s = conf.option("hold_ttl_s", 900)

local insiders = { "service", "operator", "admin" }
local staff = { "operator", "admin" }

local relay = outbox.start(inventory)

-- What the outside sees of a product, a movement, an adjustment.
local function view_item(row)
  return {
    sku = row.sku, name = row.name, unit_price = row.unit_price, currency = row.currency,
    low_stock_threshold = row.low_stock_threshold, on_hand = row.on_hand,
    reserved = row.reserved, available = row.available, warehouses = row.warehouses,
  }
end

local function view_alert(row)
  return {
    sku = row.sku, name = row.name, available = row.available,
    threshold = row.low_stock_threshold, since = row.low_since,
  }
end

local function view_movement(row)
  return {
    id = row.id, sku = row.sku, warehouse = row.warehouse, quantity = row.quantity,
    reason = row.reason, order_id = row.order_id, actor = row.actor, note = row.note,
    created_at = row.created_at,
  }
end

local function view_adjustment(row)
  return {
    id = row.id, sku = row.sku, warehouse = row.warehouse, quantity = row.quantity,
    reason = row.reason, note = row.note, created_at = row.created_at,
    on_hand = row.on_hand, reserved = row.reserved, available = row.available,
  }
end

-- From the cache, or the database.
local function item_of(sku)
  return cache.fetch("item:" .. sku, cache_ttl_s, function()
    local row = store.item(sku)
    return row and view_item(row)
  end)
end

local function no_item(sku)
  return fault.new("missing", "no product has the SKU " .. sku)
end

local function position(items, wanted)
  for i, item in ipairs(items) do
    if item.sku == wanted then
      return i - 1
    end
  end
end

inventory:get("/api/v1/inventory", {
  summary = "List products with their stock, by SKU",
  query = shapes.listed, answers = { [200] = page.of(shapes.item) },
}, function(req)
  local rows = store.items(by_sku.after(req), req.query, req.query.limit + 1)
  return 200, by_sku.answer(rows, req, view_item)
end)

inventory:get("/api/v1/inventory/alerts", {
  summary = "List products that run low, by SKU",
  auth = insiders, query = shapes.paged, answers = { [200] = page.of(shapes.alert) },
}, function(req)
  local rows = store.items(by_sku.after(req), { low = true }, req.query.limit + 1)
  return 200, by_sku.answer(rows, req, view_alert)
end)

inventory:get("/api/v1/inventory/:sku", {
  summary = "Show the stock of one product, by warehouse",
  path = shapes.one_item, answers = { [200] = shapes.item }, faults = { 404 },
}, function(req)
  local item = flow.timed("get", function() return item_of(req.path.sku) end)
  if not item then
    return no_item(req.path.sku)
  end
  return 200, item
end)

inventory:get("/api/v1/inventory/:sku/movements", {
  summary = "List what happened to a product, the newest first",
  auth = insiders, path = shapes.one_item, query = shapes.moved,
  answers = { [200] = page.of(shapes.movement) }, faults = { 404 },
}, function(req)
  local sku = req.path.sku
  local rows = store.movements(sku, req.query.warehouse, page.before(req),
    req.query.limit + 1)
  if #rows == 0 and not store.item(sku) then
    return no_item(sku)
  end
  return 200, page.answer(rows, req, view_movement)
end)

inventory:post("/api/v1/inventory/reserve", {
  summary = "Hold stock for an order, all of it or nothing",
  auth = insiders, body = shapes.reservation, answers = { [201] = shapes.held },
  faults = { 409 },
}, function(req)
  local items = req.body.items
  local held, why = flow.reserve(req.body.order_id, items, hold_ttl_s)
  if held then
    reservations:inc()
    return 201, held
  elseif why.kind == "missing" then
    local at = position(items, why.sku) or 0
    return app.rejected { {
      field = ("items[%d].sku"):format(at), message = "is not a known product",
    } }
  end
  return why
end)

inventory:post("/api/v1/inventory/release", {
  summary = "Give back what an order holds",
  auth = insiders, body = shapes.one_order, answers = { [200] = shapes.released },
  faults = { 409 },
}, function(req)
  local done, why = flow.release(req.body.order_id)
  if not done and why.kind == "missing" then
    return 200, { released = false }
  elseif not done then
    return why
  end
  return 200, done
end)

inventory:post("/api/v1/inventory/adjust", {
  summary = "Correct by hand what is on hand",
  auth = staff, body = shapes.adjustment, once_by = "idempotency-key",
  answers = { [201] = shapes.adjusted }, faults = { 409 },
}, function(req)
  if req.body.quantity == 0 then
    return app.rejected { { field = "quantity", message = "must not be 0" } }
  end
  local done, why = flow.adjust(req.user.sub, req.once_key, req.body)
  if not done then
    return why
  end
  return 201, view_adjustment(done), {
    Location = ("/api/v1/inventory/%s/movements"):format(done.sku),
  }
end)

local function event_of(message, expected, key)
  local event, errors = shape.check(expected, message.body)
  local first = errors and errors[1]
  if first then
    fault.raise("bad_input", ("%s: %s %s"):format(key, first.field, first.message))
  end
  return event
end

inventory:consume("inventory.order-confirmed", { bind = { "order.confirmed" } },
  function(message)
    local event = event_of(message, shapes.confirmed, "order.confirmed")
    flow.confirmed(event, hold_ttl_s, relay)
  end)

inventory:consume("inventory.order-cancelled", { bind = { "order.cancelled" } },
  function(message)
    flow.cancelled(event_of(message, shapes.cancelled, "order.cancelled"))
  end)

leader.every(inventory, "hold_expiry", 5, flow.expire_overdue)

leader.every(inventory, "low_stock", 5, function()
  flow.tell_low(relay)
end)

inventory:every("levels", 5, function()
  for _, row in ipairs(store.levels()) do
    level:set(row.available, row.sku, row.warehouse)
  end
  low:set(store.low_count())
end)

return inventory
