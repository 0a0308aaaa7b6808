-- The story of one refund:
--
--   insert the row                  pending; key and money are taken
--   refund at the acquirer          the refund's id is the key
--   write the outcome               done | failed, or open: pending, uncertain
--
-- A refund that was taken is made: while the acquirer is away or does not answer it stays
-- open, and the reconciliation asks again with the same key. It fails only when the
-- acquirer says no.
local acquirer = require "acquirer"
local app = require "app"
local cache = require "cache"
local crypto = require "crypto"
local fault = require "fault"
local json = require "json"
local log = require "log"
local refund_store = require "refund_store"
local series = require "series"

local refunds = {}

local cache_ttl_s = 3600

-- Not done by this attempt is pending, perhaps done is uncertain.
local statuses = {
  refunded = "done", refused = "failed", error = "pending", missing = "pending",
  unreached = "pending",
}

local function fingerprint(payment_id, body)
  return crypto.fingerprint(json.encode(json.array {
    payment_id, body.amount or "what is left", body.reason or "",
  }))
end

--- One attempt: the refund as it is then.
---@param refund table
---@return table refund
function refunds.attempt(refund)
  local said = acquirer.refund(refund)
  local status = statuses[said.state] or "uncertain"
  local row = refund_store.settle(refund, status, said.code)
  if not row then -- somebody else holds it by now
    return refund_store.find(refund.id)
  end
  if status == "done" then
    series.refund()
  end
  local write = status == "done" and log.info or log.warn
  if refund.attempt > 1 and (status == "pending" or status == "uncertain") then
    write = log.debug -- it was said at the first
  end
  write("refund " .. status, {
    refund_id = row.id, payment_id = row.payment_id, amount = row.amount,
    error = said.code,
  })
  return row
end

-- A failure from here on changes nothing: the refund is taken, and will be made.
local function make(refund, key)
  local row, why = fault.catch(function()
    return refunds.attempt(refund)
  end)
  if not row then
    log.error("refund left open", {
      refund_id = refund.id, payment_id = refund.payment_id, kind = why.kind,
      error = why.detail,
    })
    return refund
  end
  cache.put(key, row.id, cache_ttl_s)
  return row
end

-- The same key again: the same refund, unless it was used for something else.
local function repeated(refund, hash, key)
  if refund.request_hash ~= hash then
    return nil, app.rejected { {
      field = "Idempotency-Key", message = "was used for another refund",
    } }
  end
  local open = refund.status == "pending" or refund.status == "uncertain"
  local taken = open and refund_store.take_up(refund.id)
  return taken and make(taken, key) or refund
end

--- Gives money back at most once per key of a caller: the refund, or nil, why.
---@param caller string
---@param key string
---@param payment_id string
---@param body {amount: integer?, reason: string?}
---@return table? refund
---@return fault? why
function refunds.give(caller, key, payment_id, body)
  local hash, kept = fingerprint(payment_id, body), "refund:" .. caller .. ":" .. key
  local id = cache.get(kept)
  local before = id and refund_store.find(id)
  if before then
    return repeated(before, hash, kept)
  end
  local claimed, why = refund_store.add {
    payment_id = payment_id, caller = caller, idempotency_key = key, request_hash = hash,
    amount = body.amount, reason = body.reason,
  }
  if not claimed and why.constraint == "refunds_once" then -- for another payment
    claimed = { before = refund_store.by_key(caller, key) }
  end
  if not claimed then
    return nil, why
  elseif claimed.before then
    return repeated(claimed.before, hash, kept)
  end
  return make(claimed.fresh, kept)
end

return refunds
