-- The story of one payment:
--
--   pending --> captured | declined | failed       (settled: it stays so)
--           \-> uncertain --> pending ...          (asked again, with the same key)
--
-- The row is written before the acquirer is called, and the key decides in PostgreSQL. So
-- a process that ends in between leaves a pending row, never a charge that nobody knows
-- of.
local app = require "app"
local cache = require "cache"
local card = require "card"
local crypto = require "crypto"
local fault = require "fault"
local http = require "http"
local log = require "log"
local metrics = require "metrics"
local random = require "random"
local store = require "store"
local task = require "task"

local latency = metrics.histogram("payment_gateway_latency_seconds",
  "Time the acquirer took to answer, or we to give up.", nil,
  { 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 1, 2, 5 })

local acquirer_timeout_s = 2
local cache_ttl_s = 3600

local flow = {}

-- What makes two requests the same: never more of a card than is kept of it.
local function fingerprint(body)
  return crypto.fingerprint(table.concat({
    body.order_id, body.amount, body.currency, body.method, body.card.number:sub(-4),
    body.card.exp_month, body.card.exp_year,
  }, "|"))
end

local function authorize(payment, body)
  return metrics.time(latency, function()
    return http.call("acquirer", "POST", "/authorize", {
      timeout_s = math.max(0.1, math.min(acquirer_timeout_s, task.deadline() - 0.5)),
      repeatable = true,
      headers = { ["Idempotency-Key"] = payment.id },
      body = {
        amount = payment.amount, currency = payment.currency,
        reference = payment.order_id,
        card = {
          number = body.card.number, brand = payment.card_brand, cvc = body.card.cvc,
          exp_month = body.card.exp_month, exp_year = body.card.exp_year,
        },
      },
    })
  end)
end

-- The acquirer's words in ours: status, code and authorization of the payment.
local function outcome(answer, why)
  if not answer then
    if why.kind == "uncertain" then
      return "uncertain", "no_answer"
    end
    return "failed", "acquirer_unavailable"
  end
  local body = type(answer.body) == "table" and answer.body or {}
  if answer.ok and body.outcome == "approved" then
    return "captured", nil, body.id
  elseif answer.ok and body.outcome == "declined" then
    return "declined", body.code or "no_reason", body.id
  elseif body.outcome == "error" then
    return "failed", body.code -- it says itself that nothing was charged
  elseif answer.status >= 400 and answer.status <= 499 then
    return "failed", "acquirer_status_" .. answer.status
  end
  return "uncertain", "acquirer_status_" .. answer.status
end

local function charge(payment, body)
  local status, code, authorization_id = outcome(authorize(payment, body))
  local settled, why = fault.catch(function()
    return store.settle(payment.id, status, code, authorization_id)
      or store.find(payment.id) -- somebody took it up meanwhile
  end)
  if not settled then -- the row stays pending: the same key will take it up
    return nil, fault.new("uncertain", "the outcome could not be written: " .. why.detail)
  end
  if status ~= "uncertain" then
    cache.put("once:" .. payment.customer_id .. ":" .. payment.idempotency_key,
      payment.id, cache_ttl_s)
  end
  local write = status == "captured" and log.info or log.warn
  write("payment " .. status, {
    payment_id = payment.id, order_id = payment.order_id, amount = payment.amount,
    currency = payment.currency, error = code,
  })
  return { payment = settled }
end

-- The same key again: the same payment, unless it was used for something else.
local function repeated(payment, hash, body)
  if payment.request_hash ~= hash then
    return nil, app.rejected { {
      field = "Idempotency-Key", message = "was used for another payment",
    } }
  elseif payment.status ~= "pending" and payment.status ~= "uncertain" then
    return { payment = payment, again = true }
  end
  local taken = store.take_up(payment.id)
  if not taken then
    return nil, fault.new("refused", "this payment is in progress")
  end
  return charge(taken, body)
end

local function known(user_id, key)
  local id = cache.get("once:" .. user_id .. ":" .. key)
  return id and store.find(id)
end

-- The payment of this key: a new row, or one that was there before.
local function claim(user, key, hash, body)
  local seen = known(user.sub, key)
  if seen then
    return { before = seen }
  end
  local payment, why = store.add {
    id = random.uuid(), customer_id = user.sub, order_id = body.order_id,
    idempotency_key = key, request_hash = hash, amount = body.amount,
    currency = body.currency, method = body.method,
    card_brand = card.brand(body.card.number), card_last4 = body.card.number:sub(-4),
  }
  if payment then
    return { fresh = payment }
  elseif why.constraint == "payments_once" then
    return { before = store.by_key(user.sub, key) }
  end
  return nil, fault.new("refused", "this order has a payment already")
end

--- Takes a payment at most once per key: {payment = row, again = true when it was known},
--- or nil, why. A payment that was declined is a payment too: look at its status. When
--- why.charged is false, this request surely charged nothing.
---@param user claims
---@param key string
---@param body table
---@return {payment: table, again: boolean?}? done
---@return fault? why
function flow.pay(user, key, body)
  local hash = fingerprint(body)
  local ok, claimed, why = pcall(claim, user, key, hash, body)
  if not ok and fault.is(claimed) then -- a store is away, and the acquirer was not asked
    return nil, fault.new(claimed.kind, claimed.detail, { charged = false })
  elseif not ok then
    error(claimed, 0)
  elseif not claimed then
    return nil, why
  elseif claimed.fresh then
    return charge(claimed.fresh, body)
  end
  return repeated(claimed.before, hash, body)
end

return flow
