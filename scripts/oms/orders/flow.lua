-- The story of an order:
--
--   look: who asks, what does it cost      nothing is written
--   insert the order                       pending
--   reserve its stock                      refused: cancelled
--   take the money                         refused: cancelled, stock released
--   one transaction: order and events      processing
--
-- Each step is written before the next begins, and each is idempotent by the order's id.
-- What is not known in the end is left pending, and recovery.lua finds out.
--
-- Others work on the same order. This request has 10 s (task_timeout_ms) and recovery
-- begins after 20 s, so they rarely meet; but a process can stand still for any time, so
-- nothing rests on that. Two rules carry it: a move happens in one transaction that names
-- the state it starts from (moves.lua), so of two moves one happens; and payments answers
-- a void with "none" only when it takes no money for the order any more.
--
--   request, late          recovery has      then
--   reserves               cancelled         refused, or order.cancelled frees the hold
--   pays                   voided            refused: no money moves
--   pays                   asked meanwhile   "open" or "captured": it waits, or goes on
--   confirms               confirmed         the order as it stands: 201
--   confirms               cancelled, paid   recovery knew of the payment: it is owed
--   confirms               cancelled, none   cannot be; the payment would be owed (owe)
--   cancels, not paid      cancelled         the order as it stands: its failure
--   cancels, not paid      confirmed         cannot be: one payment decides, for both
--
-- DELETE, PUT's moves and hold_lost start from processing or later, so they never meet a
-- request before its commit; among themselves one wins. A note of PUT moves nothing. Two
-- recoveries get the same answers, and one move. A refund has one key, whoever asks.
local app = require "app"
local crypto = require "crypto"
local fault = require "fault"
local json = require "json"
local jwt = require "jwt"
local log = require "log"
local moves = require "moves"
local peers = require "peers"
local quote = require "quote"
local random = require "random"
local store = require "store"
local trace = require "trace"
local undo = require "undo"

local flow = {}

---@class ask  what a caller wants
---@field user claims
---@field key string           the Idempotency-Key
---@field authorization string the caller's, for users
---@field body table

-- Which card, account or address pays: never more of a number than its last digits.
local function instrument(payment)
  if payment.method == "card" then
    return payment.card.number:sub(-4)
  elseif payment.method == "paypal" then
    return payment.paypal.email:lower()
  end
  return payment.bank_transfer.iban:sub(-4)
end

-- What makes two requests the same. As JSON, so that no text can pose as two. Nobody who
-- reads the digest can try out whose PayPal account it was without the lab's secret.
local function fingerprint(body)
  local parts = {
    body.currency, body.payment.method, instrument(body.payment),
    body.billing and body.billing.country or "", body.note or "",
  }
  for _, item in ipairs(body.items) do
    table.insert(parts, { item.sku, item.quantity })
  end
  local key = crypto.hmac_sha256(jwt.secret(), "fingerprints of orders")
  return crypto.hex(crypto.hmac_sha256(key, json.encode(parts)))
end

-- What an order came to, for whoever placed it. One that was confirmed stays a success,
-- even when it was cancelled later: it has no failure.
local function as_it_stands(order)
  if order.status == "pending" then
    return nil, fault.new("refused", "this order is in progress", {
      order_id = order.id, headers = { ["Retry-After"] = "1" },
    })
  elseif order.failure then
    return nil, fault.new(order.failure.kind, order.failure.detail, order.failure)
  end
  return { order = order, again = true }
end

-- The same key again: what came of it the first time.
local function repeated(order, hash)
  if order.request_hash ~= hash then
    return nil, app.rejected { {
      field = "Idempotency-Key", message = "was used for another order",
    } }
  end
  return as_it_stands(order)
end

local passed_on = {
  "kind", "detail", "status", "errors", "charged", "decline_code", "payment_id", "sku",
}

-- What the caller is told, and is told again when the key comes again. However unsure the
-- other side is: when this is told, the order is cancelled.
local function told(order, why)
  local failure = { order_id = order.id }
  for _, name in ipairs(passed_on) do
    failure[name] = why[name]
  end
  if why.kind == "uncertain" then
    failure.kind = "unavailable"
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
    or why.kind == "missing"
end

-- Whether a failed payment surely took no money. Only payments itself can say so.
local function nothing_taken(why)
  return unreached(why) or why.kind == "bad_input" or why.charged == false
end

-- Leaves the order to recovery, and says that it is not known how it will end. The same
-- key will tell.
local function leave(order, message, why)
  log.error(message, { order_id = order.id, kind = why.kind, error = why.detail })
  return nil, fault.new("uncertain", message .. "; ask again with the same key", {
    order_id = order.id,
  })
end

-- Somebody else has brought the order to its end while we were at it.
local function overtaken(order)
  local row, why = fault.catch(function() return store.find(order.id) end)
  if not row then
    return leave(order, "overtaken, and not known by what", why)
  end
  log.warn("order overtaken", { order_id = order.id, status = row.status })
  return as_it_stands(row)
end

-- Cancels the order; then frees its stock. Nobody is told of a failure that is not
-- written: recovery may see more than we did.
local function give_up(order, why, reason, may_hold)
  local failure = told(order, why)
  local done, problem = fault.catch(function()
    return moves.cancel(order.id, {
      from = "pending", reason = reason, failure = failure,
    })
  end)
  if problem then
    return leave(order, "given up, but not cancelled yet", problem)
  elseif not done then
    return overtaken(order)
  end
  if may_hold then
    undo.release(order)
  end
  return nil, fault.new(failure.kind, failure.detail, failure)
end

local function confirm(order, hold, payment)
  local done, why = fault.catch(function()
    local row = moves.confirm(order.id, hold.reservation_id, payment.id)
    if not row and store.owe(order.id, payment.id) then
      moves.forget(order.id)
      log.error("a cancelled order was paid", {
        order_id = order.id, payment_id = payment.id,
      })
    end
    return row
  end)
  if why then
    return leave(order, "paid, but not confirmed yet", why)
  elseif not done then
    return overtaken(order)
  end
  return { order = done }
end

local function fulfil(ask, order)
  local hold, why = peers.reserve(order)
  if not hold then
    local reason = why.kind == "refused" and "stock" or "inventory"
    return give_up(order, why, reason, not nothing_held(why))
  end
  local payment
  payment, why = peers.pay(order, ask.body.payment)
  if payment then
    return confirm(order, hold, payment)
  elseif nothing_taken(why) then
    return give_up(order, why, "payment", true)
  end
  return leave(order, "the payment's outcome is not known yet", why)
end

-- The order of this request, as it will be inserted.
local function new_order(ask, seen, priced, hash)
  local body = ask.body
  return {
    id = random.uuid(), customer_id = seen.user.id, email = seen.user.email,
    total = priced.total, currency = body.currency, items = priced.items,
    method = body.payment.method, country = body.billing and body.billing.country,
    note = body.note, idempotency_key = ask.key, request_hash = hash,
  }
end

--- Places an order at most once per key: {order = row, again = true when it was there},
--- or nil, why.
---@param ask ask
---@return {order: table, again: boolean?}? done
---@return fault? why
function flow.place(ask)
  local hash, seen = fingerprint(ask.body), quote.look(ask)
  if not seen.user then
    return nil, seen.stranger
  elseif seen.order then
    return repeated(seen.order, hash)
  end
  local priced, why = quote.price(ask.body, seen)
  if not priced then
    return nil, why
  end
  local order = new_order(ask, seen, priced, hash)
  trace.set("order.id", order.id)
  local row
  row, why = fault.catch(function() return store.add(order) end)
  if row then
    return fulfil(ask, row)
  elseif why.constraint == "orders_once" then -- somebody with the same key was faster
    return repeated(store.by_key(ask.user.sub, ask.key), hash)
  elseif why.kind == "uncertain" then
    return leave(order, "it is not known whether the order was written", why)
  end
  return nil, why
end

return flow
