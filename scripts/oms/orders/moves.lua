-- The moves of an order, each one transaction: the new state and the events that tell of
-- it, or nothing. A move names the state it starts from and gives nil when the order is
-- not there any more, so whoever comes second changes nothing.
--
--   pending ----> processing ----> shipped ----> delivered
--      \              \
--       +--------------+--------> cancelled      a paid one owes its money (undo.lua)
local cache = require "cache"
local db = require "db"
local fault = require "fault"
local log = require "log"
local metrics = require "metrics"
local outbox = require "outbox"
local store = require "store"

local created = metrics.counter("orders_created_total", "Orders confirmed.")
local cancelled = metrics.counter("orders_cancelled_total",
  "Orders cancelled, by reason.", { "reason" })

for _, reason in ipairs {
  "customer", "staff", "stock", "inventory", "payment", "recovery", "hold_lost",
} do
  cancelled:zero(reason)
end

local moves = {}

-- Where staff may send an order; cancelling has a way of its own.
local next_status = { processing = "shipped", shipped = "delivered" }

local function announce(tx, key, order, more)
  local event = {
    order_id = order.id, customer_id = order.customer_id, email = order.email,
    items = order.items, total = order.total, currency = order.currency,
    status = order.status, created_at = order.created_at,
  }
  for name, value in pairs(more or {}) do
    event[name] = value
  end
  outbox.add(tx, key, event)
end

--- Has nobody read an old state of the order from the cache.
---@param id string
function moves.forget(id)
  cache.drop("order:" .. id)
end

--- pending -> processing.
---@return table? order nil: it is not pending
function moves.confirm(id, reservation_id, payment_id)
  local order = db.tx(function(tx)
    local row = store.confirm(tx, id, reservation_id, payment_id)
    if row then
      announce(tx, "order.created", row)
      announce(tx, "order.confirmed", row)
    end
    return row
  end)
  if order then
    moves.forget(id)
    created:inc()
    log.info("order confirmed", { order_id = id, total = order.total })
  end
  return order
end

--- how.from -> cancelled, as part of a transaction; `was_cancelled` follows its end.
---@param how {from: string, reason: string, failure: table?, payment_id: string?}
---@return table? order nil: it is not how.from
function moves.cancel_in(tx, id, how)
  local order = store.cancel(tx, id, how)
  if order then
    announce(tx, "order.cancelled", order, {
      previous_status = how.from, reason = how.reason,
    })
  end
  return order
end

function moves.was_cancelled(order, how)
  moves.forget(order.id)
  cancelled:inc(how.reason)
  log.warn("order cancelled", {
    order_id = order.id, reason = how.reason, kind = how.failure and how.failure.kind,
    error = how.failure and how.failure.detail,
  })
end

--- how.from -> cancelled.
---@return table? order nil: it is not how.from
function moves.cancel(id, how)
  local order = db.tx(function(tx)
    return moves.cancel_in(tx, id, how)
  end)
  if order then
    moves.was_cancelled(order, how)
  end
  return order
end

--- Writes a new note and sends the order on, when it is still at the given version.
---@param id string
---@param change {version: integer, lost: fault, status: string?, note: string?}
---@return table? order
---@return fault? why
function moves.change(id, change)
  local order, why = db.tx(function(tx)
    local row = store.lock(tx, id)
    if row.version ~= change.version then
      return nil, change.lost
    elseif change.status and next_status[row.status] ~= change.status then
      return nil, fault.new("refused", ("an order that is %s does not become %s"):format(
        row.status, change.status), { order_status = row.status })
    end
    row = store.change(tx, id, change.status or row.status, change.note)
    if change.status then
      announce(tx, "order." .. row.status, row)
    end
    return row
  end)
  if not order then
    return nil, why
  end
  moves.forget(id)
  log.info("order changed", { order_id = id, status = order.status })
  return order
end

return moves
