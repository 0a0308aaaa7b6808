-- The story of one payment:
--
--   pending --> captured | declined | failed       (settled; captured may be refunded)
--           \-> uncertain --> pending ...          (taken up again)
--
--   insert the row                      pending; key and order are taken
--   authorize at the acquirer           the money is reserved, nobody is charged
--   write that it is authorized         only who can write this goes on
--   capture                             the money moves
--   write the outcome
--
-- Each step is written before the next begins, and each has the payment's id as its key
-- at the acquirer. So a process that ends anywhere leaves a pending row, never a charge
-- that nobody knows of; the same key or the reconciliation takes it up.
--
-- A payment fails for good only where nobody can capture it any more: at the first
-- attempt, before anything was authorized; later, when the acquirer has voided it. That
-- is what a voided order relies on.
local acquirer = require "acquirer"
local app = require "app"
local cache = require "cache"
local fault = require "fault"
local instrument = require "instrument"
local log = require "log"
local random = require "random"
local series = require "series"
local store = require "store"

local cache_ttl_s = 3600

local flow = {}

-- The acquirer's words in ours.
local statuses = { captured = "captured", declined = "declined", voided = "failed" }

--- Writes what the acquirer said of a payment, and counts it once. When somebody else
--- holds the payment by now, the row is as they left it.
---@param payment table
---@param said said
---@return table payment
function flow.settle(payment, said)
  local status = statuses[said.state] or "uncertain"
  local code = status ~= "captured" and (said.code or said.state) or nil
  local settled = store.settle(payment, status, code, said)
  if not settled then
    return store.find(payment.id)
  end
  series.payment(settled)
  local write = status == "captured" and log.info or log.warn
  if status == "uncertain" and not settled.newly_uncertain then
    write = log.debug -- it was said before
  end
  write("payment " .. status, {
    payment_id = payment.id, order_id = payment.order_id, amount = payment.amount,
    currency = payment.currency, error = code,
  })
  return settled
end

--- Takes the money of an authorized payment, after writing that it is authorized. nil
--- when somebody else holds the payment by now.
---@param payment table
---@param authorization_id string
---@return said?
function flow.capture(payment, authorization_id)
  if not store.authorized(payment, authorization_id) then
    return nil
  end
  return acquirer.capture(payment)
end

-- Nothing was authorized by this attempt. Of an earlier one a request may still be on its
-- way: then the acquirer has to end it. And where it could not be reached, a request on a
-- connection that was just closing may have come through: this attempt goes no further,
-- so nobody is charged, and the reconciliation has the money set free.
local function nothing_done(payment, said)
  if payment.attempt > 1 then
    return acquirer.void(payment)
  end
  return {
    state = "voided", code = said.code, void_due = said.state == "unreached",
  }
end

local undone = { error = true, missing = true, unreached = true }

local function attempt(payment, sent)
  local said = acquirer.authorize(payment, sent)
  if said.state == "authorized" then
    return flow.capture(payment, said.id)
  elseif undone[said.state] then
    return nothing_done(payment, said)
  end
  return said
end

local function charge(payment, sent)
  local row, why = fault.catch(function()
    local said = attempt(payment, sent)
    return said and flow.settle(payment, said) or store.find(payment.id)
  end)
  if not row then -- it stays pending, and is taken up
    return nil, fault.new("uncertain", "the outcome could not be written: " .. why.detail)
  end
  if row.status ~= "uncertain" and row.status ~= "pending" then
    cache.put("once:" .. row.caller .. ":" .. row.idempotency_key, row.id, cache_ttl_s)
  end
  return row
end

-- The same key again: the same payment, unless it was used for something else.
local function repeated(payment, hash, sent)
  if payment.request_hash ~= hash then
    return nil, app.rejected { {
      field = "Idempotency-Key", message = "was used for another payment",
    } }
  elseif payment.status ~= "pending" and payment.status ~= "uncertain" then
    return payment
  end
  local taken = store.take_up(payment.id)
  if not taken then
    return nil, fault.new("refused", "this payment is in progress")
  end
  return charge(taken, sent)
end

local function known(caller, key)
  local id = cache.get("once:" .. caller .. ":" .. key)
  return id and store.find(id)
end

-- Another payment has the order, or its place is taken for good.
local function refusal(order_id)
  local live = store.live(order_id)
  if live and live.status == "voided" then
    return fault.new("refused", "this order is given up: it is not charged any more", {
      charged = false,
    })
  end
  return fault.new("refused", "this order has a payment already", {
    payment_id = live and live.id,
  })
end

-- The payment of this key: a new row, or one that was there before.
local function claim(caller, key, hash, body)
  local before = known(caller, key)
  if before then
    return { before = before }
  end
  local payment = instrument.kept(body)
  payment.id, payment.caller, payment.idempotency_key = random.uuid(), caller, key
  payment.request_hash = hash
  for _, name in ipairs { "customer_id", "order_id", "amount", "currency", "method",
    "country" } do
    payment[name] = body[name]
  end
  local row = store.add(payment)
  if row then
    return { fresh = row }
  end
  before = store.by_key(caller, key)
  if before then
    return { before = before }
  end
  return nil, refusal(body.order_id)
end

--- Takes a payment at most once per key of a caller: its row, or nil, why. A payment that
--- was declined is a payment too: look at its status. When why.charged is false, this
--- request surely charged nothing.
---@param caller string
---@param key string
---@param body table
---@return table? payment
---@return fault? why
function flow.pay(caller, key, body)
  local hash, sent = instrument.fingerprint(body), instrument.sent(body)
  local ok, claimed, why = pcall(claim, caller, key, hash, body)
  if not ok and fault.is(claimed) then -- a store is away, and the acquirer was not asked
    return nil, fault.new(claimed.kind, claimed.detail, { charged = false })
  elseif not ok then
    error(claimed, 0)
  elseif not claimed then
    return nil, why
  elseif claimed.fresh then
    return charge(claimed.fresh, sent)
  end
  return repeated(claimed.before, hash, sent)
end

--- Gives an order up: {status = "none"} promises that no payment of it is captured from
--- now on; with "captured" it was, with "open" nobody knows yet.
---@param order_id string
---@return {status: string, payment_id: string?, amount: integer?, refunded: integer?}
function flow.void(order_id)
  for _ = 1, 3 do -- between the two statements a payment may have ended
    if store.void(order_id) then
      log.info("order voided", { order_id = order_id })
      return { status = "none" }
    end
    local live = store.live(order_id)
    if live and live.status == "captured" then
      return {
        status = "captured", payment_id = live.id, amount = live.amount,
        refunded = live.refunded,
      }
    elseif live and (live.status == "voided" or live.status == "refunded") then
      return { status = "none" } -- and all that was taken is back
    elseif live then
      return { status = "open" }
    end
  end
  return { status = "open" }
end

return flow
