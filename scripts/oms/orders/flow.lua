-- The story of an order:
--
--   look: who asks, what does it cost      nothing is written
--   insert the order                       pending
--   reserve its stock                      refused: cancelled
--   take the money                         refused: stock released, cancelled
--   one transaction: order and events      processing
--
-- Each step is written before the next begins, and each is idempotent by the order's id.
-- So an order that a crash left pending can be taken up again: ask for the hold and the
-- payment with the same id, then go on or undo. A payment whose outcome nobody knows
-- leaves it pending too.
local app = require "app"
local cache = require "cache"
local crypto = require "crypto"
local db = require "db"
local fault = require "fault"
local log = require "log"
local outbox = require "outbox"
local peers = require "peers"
local random = require "random"
local store = require "store"
local task = require "task"
local trace = require "trace"

local flow = {}

---@class ask  what a caller wants
---@field user claims
---@field key string           the Idempotency-Key
---@field authorization string passed on to the others
---@field body table

-- What makes two requests the same: never more of a card than its last digits.
local function fingerprint(body)
  local parts = { body.currency, body.payment.method, body.payment.card.number:sub(-4) }
  for _, item in ipairs(body.items) do
    table.insert(parts, item.sku .. "=" .. item.quantity)
  end
  return crypto.fingerprint(table.concat(parts, "|"))
end

-- Asks everything that decides whether there can be an order, side by side.
local function look(ask)
  local seen = { items = {}, problems = {} }
  local parts = {
    function() seen.user, seen.stranger = peers.user(ask.authorization) end,
    function() seen.order = store.by_key(ask.user.sub, ask.key) end,
  }
  for _, item in ipairs(ask.body.items) do
    local sku = item.sku
    if seen.items[sku] == nil then
      seen.items[sku] = false
      table.insert(parts, function()
        seen.items[sku], seen.problems[sku] = peers.item(sku, ask.authorization)
      end)
    end
  end
  task.all(parts)
  return seen
end

-- The lines with their prices and the total; or why there can be none.
local function price(body, seen)
  local lines, total, errors = {}, 0, {}
  for i, item in ipairs(body.items) do
    local product, why = seen.items[item.sku], seen.problems[item.sku]
    local field = ("items[%d].sku"):format(i - 1)
    if product and product.currency == body.currency then
      lines[i] = {
        sku = item.sku, quantity = item.quantity, unit_price = product.unit_price,
      }
      total = total + item.quantity * product.unit_price
    elseif product then
      local message = "is not sold for " .. body.currency
      table.insert(errors, { field = field, message = message })
    elseif why.kind == "missing" then
      table.insert(errors, { field = field, message = "is not a known product" })
    else
      return nil, why
    end
  end
  if errors[1] then
    return nil, app.rejected(errors)
  end
  return { items = lines, total = total }
end

-- The same key again: what came of it the first time.
local function repeated(order, hash)
  if order.request_hash ~= hash then
    return nil, app.rejected { {
      field = "Idempotency-Key", message = "was used for another order",
    } }
  elseif order.status == "pending" then
    return nil, fault.new("refused", "this order is in progress", { order_id = order.id })
  elseif order.status == "cancelled" then
    local failure = order.failure
    return nil, fault.new(failure.kind, failure.detail, failure)
  end
  return { order = order, again = true }
end

local passed_on = {
  "kind", "detail", "status", "errors", "charged", "decline_code", "payment_id", "sku",
}

-- What the caller is told, and is told again when the key comes again.
local function told(order, why)
  local failure = { order_id = order.id }
  for _, name in ipairs(passed_on) do
    failure[name] = why[name]
  end
  return failure
end

-- Whether the other service was never reached: no answer of its own, nothing sent.
local function unreached(why)
  return why.kind == "unavailable" and why.status == nil
end

-- Whether a failed reservation surely left no hold behind.
local function nothing_held(why)
  return unreached(why) or why.kind == "refused" or why.kind == "bad_input"
    or why.kind == "denied" or why.kind == "missing"
end

-- Whether a failed payment surely took no money. Only payments itself can say so.
local function nothing_taken(why)
  return unreached(why) or why.kind == "bad_input" or why.kind == "denied"
    or why.charged == false
end

-- Undoes what was done and cancels the order. Gives the fault for the caller.
local function give_up(ask, order, why, may_hold)
  local compensation
  if may_hold then
    local done, problem = peers.release(order, ask.authorization)
    if not done or (why.kind == "uncertain" and not done.released) then
      compensation = "release_pending"
      log.error("stock not released", {
        order_id = order.id, kind = problem and problem.kind,
        error = problem and problem.detail,
      })
    end
  end
  local failure = told(order, why)
  local _, problem = fault.catch(function()
    return store.cancel(order.id, failure, compensation)
  end)
  cache.drop("order:" .. order.id)
  log.warn(problem and "order given up, but left pending" or "order cancelled", {
    order_id = order.id, kind = why.kind, error = why.detail,
  })
  return fault.new(failure.kind, failure.detail, failure)
end

local function event(order)
  return {
    order_id = order.id, customer_id = order.customer_id, email = order.email,
    items = order.items, total = order.total, currency = order.currency,
    status = order.status, created_at = order.created_at,
  }
end

-- Leaves the order pending, and says that it is not known how it will end.
local function leave(order, message, why)
  log.error(message, { order_id = order.id, kind = why.kind, error = why.detail })
  return nil, fault.new("uncertain", message .. "; the order is pending", {
    order_id = order.id,
  })
end

local function confirm(order, hold, payment)
  local done, why = fault.catch(function()
    return db.tx(function(tx)
      local row = store.confirm(tx, order.id, hold.reservation_id, payment.id)
      if not row then
        return nil, fault.new("refused", "the order is not pending any more")
      end
      for name, value in pairs(row) do
        order[name] = value
      end
      outbox.add(tx, "order.created", event(order))
      outbox.add(tx, "order.confirmed", event(order))
      return order
    end)
  end)
  if not done then
    return leave(order, "paid, but not confirmed yet", why)
  end
  cache.drop("order:" .. order.id)
  log.info("order confirmed", { order_id = order.id, total = order.total })
  return { order = done }
end

local function fulfil(ask, order)
  local hold, why = peers.reserve(order, ask.authorization)
  if not hold then
    return nil, give_up(ask, order, why, not nothing_held(why))
  end
  local payment
  payment, why = peers.pay(order, ask.body.payment, ask.authorization)
  if payment then
    return confirm(order, hold, payment)
  elseif nothing_taken(why) then
    return nil, give_up(ask, order, why, true)
  end
  return leave(order, "the payment's outcome is not known yet", why)
end

--- Places an order at most once per key: {order = row, again = true when it was there},
--- or nil, why.
---@param ask ask
---@return {order: table, again: boolean?}? done
---@return fault? why
function flow.place(ask)
  local hash, seen = fingerprint(ask.body), look(ask)
  if not seen.user then
    return nil, seen.stranger
  elseif seen.order then
    return repeated(seen.order, hash)
  end
  local priced, why = price(ask.body, seen)
  if not priced then
    return nil, why
  end
  local order = {
    id = random.uuid(), customer_id = seen.user.id, email = seen.user.email,
    total = priced.total, currency = ask.body.currency, items = priced.items,
    idempotency_key = ask.key, request_hash = hash,
  }
  local row
  row, why = store.add(order)
  if not row then -- somebody with the same key was faster
    return repeated(store.by_key(ask.user.sub, ask.key), hash)
  end
  for name, value in pairs(row) do
    order[name] = value
  end
  trace.set("order.id", order.id)
  return fulfil(ask, order)
end

return flow
