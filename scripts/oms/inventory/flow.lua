-- What becomes of stock after it is held, and what people do to it.
--
-- Every change is idempotent by the order's id (adjustments by their key), and is a
-- transaction of its own in core/stock. So events need no memory of which were seen: one
-- that comes again, or late, finds what it asks for done.
local app = require "app"
local cache = require "cache"
local crypto = require "crypto"
local db = require "db"
local fault = require "fault"
local json = require "json"
local log = require "log"
local metrics = require "metrics"
local outbox = require "outbox"
local stock = require "stock"
local store = require "store"
local task = require "task"

local durations = metrics.histogram("inventory_operations_duration_seconds",
  "Duration of inventory operations.", { "operation" },
  { 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5 })
local expired = metrics.counter("inventory_holds_expired_total",
  "Holds that ended because nobody sold or released them in time.")
for _, operation in ipairs { "adjust", "cancel", "expire", "get", "release", "reserve",
  "sell" } do
  durations:zero(operation)
end

local overdue_batch, parts_max = 200, 64
local low_batch = 200

local flow = {}

--- Times an operation; gives what fn gives.
function flow.timed(operation, fn)
  return metrics.time(durations, fn, operation)
end

--- Forgets the cached numbers of products, for every replica.
function flow.forget(lines)
  local dropped = {}
  for _, line in ipairs(lines) do
    if not dropped[line.sku] then
      dropped[line.sku] = true
      cache.drop("item:" .. line.sku)
    end
  end
end

local function forget_orders(...)
  flow.forget(store.skus_of(json.array { ... }))
end

--- Holds stock for an order, or says why not.
function flow.reserve(order_id, items, ttl_s)
  local held, why = flow.timed("reserve", function()
    return stock.reserve { order_id = order_id, items = items, ttl_s = ttl_s }
  end)
  if held then
    flow.forget(items)
  end
  return held, why
end

--- Gives back what an order holds: {released = }, or nil, why.
function flow.release(order_id)
  local done, why = flow.timed("release", function()
    return stock.release(order_id)
  end)
  if done and done.released then
    forget_orders(order_id)
  end
  return done, why
end

local function sell(order_id)
  return flow.timed("sell", function() return stock.sell(order_id) end)
end

-- The money is taken and the stock is gone: the order has to be undone. One that is
-- cancelled already takes no notice.
local function lose(order_id, sku, relay)
  db.tx(function(tx)
    outbox.add(tx, "inventory.hold_lost", { order_id = order_id, sku = sku })
  end)
  relay:wake()
end

--- The money is taken: what was promised is now sold, once, however often the event
--- comes. A hold that has expired meanwhile is taken anew; when others have its stock,
--- the order is told to be lost. So it is when its hold was released: most often because
--- the order was cancelled, but staff may have released that of one that was not.
function flow.confirmed(event, ttl_s, relay)
  local order_id = event.order_id
  local done, why = sell(order_id)
  if not done and (why.kind == "missing" or why.hold == "expired") then
    done, why = flow.reserve(order_id, event.items, ttl_s)
    if done then
      done, why = sell(order_id)
    end
  end
  if done or why.hold == "sold" then
    forget_orders(order_id)
  elseif why.hold == "returned" then
    log.info("an order was cancelled before its sale", { order_id = order_id })
  elseif why.hold == "released" then
    log.info("a paid order's hold was released", { order_id = order_id })
    lose(order_id, nil, relay)
  elseif why.sku then
    log.warn("a paid order has no stock", { order_id = order_id, sku = why.sku })
    lose(order_id, why.sku, relay)
  else
    fault.raise(why.kind, why.detail) -- again later, and then into the dead letters
  end
end

--- The order is cancelled: whatever it has of stock comes back, once.
function flow.cancelled(event)
  local done, why = flow.timed("cancel", function()
    return stock.cancel(event.order_id)
  end)
  if not done then
    fault.raise(why.kind, why.detail)
  elseif done.cancelled then
    forget_orders(event.order_id)
  end
end

-- Ends holds side by side, so that core/stock makes few batches of them. Gives how many.
local function expire(rows)
  local ended, failed, parts = {}, nil, {}
  for i, row in ipairs(rows) do
    parts[i] = function()
      local done, why = fault.catch(function()
        return flow.timed("expire", function() return stock.expire(row.order_id) end)
      end)
      if not done then
        failed = why
      elseif done.expired then
        ended[#ended + 1] = row.order_id
      end
    end
  end
  task.all(parts)
  if #ended > 0 then
    expired:add(#ended)
    forget_orders(unpack(ended))
    log.info("holds expired", { count = #ended })
  end
  if failed then
    fault.raise(failed.kind, failed.detail)
  end
  return #ended
end

--- Ends every hold whose time has passed, the oldest first, as far as this run's time
--- goes.
function flow.expire_overdue()
  local overdue, ended
  repeat
    overdue, ended = store.overdue(overdue_batch), 0
    for first = 1, #overdue, parts_max do
      ended = ended + expire { unpack(overdue, first,
        math.min(first + parts_max - 1, #overdue)) }
    end
  until #overdue < overdue_batch or ended == 0 or task.deadline() < 10
end

--- Tells which products have run low, each crossing once.
function flow.tell_low(relay)
  local told = db.tx(function(tx)
    store.forget_low(tx)
    local rows = store.take_low(tx, low_batch)
    for _, row in ipairs(rows) do
      outbox.add(tx, "inventory.low_stock", {
        sku = row.sku, name = row.name, available = row.available,
        threshold = row.threshold,
      })
    end
    return #rows
  end)
  if told > 0 then
    relay:wake()
  end
end

-- Why an adjustment was not made.
local function not_adjusted(tx, change)
  local place = store.place(tx, change.sku, change.warehouse)
  if not place then
    return app.rejected { { field = "sku", message = "is not a known product" } }
  elseif not place.warehouse then
    return app.rejected { { field = "warehouse", message = "has not this product" } }
  end
  local detail = ("%d are on hand and %d of them reserved"):format(place.on_hand,
    place.reserved)
  return fault.new("refused", detail, {
    on_hand = place.on_hand, reserved = place.reserved,
  })
end

--- Adjusts what is on hand, once per key: the adjustment, or nil, why. PostgreSQL decides
--- who was first with a key; what was refused leaves it free.
function flow.adjust(actor, key, change)
  local hash = crypto.fingerprint(json.encode(json.array {
    change.sku, change.warehouse, change.quantity, change.reason, change.note or "",
  }))
  local done, why = flow.timed("adjust", function()
    return db.tx(function(tx)
      local new = store.claim(tx, actor, key, hash)
      if new and not store.adjust(tx, actor, key, change) then
        return nil, not_adjusted(tx, change)
      end
      return store.adjustment(tx, actor, key)
    end)
  end)
  if not done then
    return nil, why
  elseif done.request_hash ~= hash then
    return nil, app.rejected { {
      field = "Idempotency-Key", message = "was used for another adjustment",
    } }
  end
  flow.forget { change }
  return done
end

return flow
