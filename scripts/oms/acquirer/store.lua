-- The books of the card network. A statement decides, or the lock of a row does, so that
-- requests side by side come out as one after the other.
local db = require "db"
local fault = require "fault"
local random = require "random"

local store = {}

local columns = [[id, idempotency_key as key, state, outcome, code, amount, currency,
  method, brand, last4, captured_amount, refunded_amount, captures_late, created_at]]

function store.find(key)
  return db.one("select " .. columns .. " from authorizations where idempotency_key = $1",
    key)
end

--- Writes a decision down once: the row, and whether it is of this call. The same key
--- again finds what was decided first.
function store.authorize(key, request, decision, kept)
  local row = db.one([[
    insert into authorizations
      (id, idempotency_key, state, outcome, code, amount, currency, method, brand, last4,
       reference, captures_late, refund_failures)
    values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)
    on conflict (idempotency_key) do nothing returning ]] .. columns,
    random.uuid(), key, decision.outcome == "approved" and "authorized" or "declined",
    decision.outcome, decision.code or db.null, request.amount, request.currency,
    request.method, kept.brand, kept.last4 or db.null, request.reference,
    decision.captures_late or false, decision.refund_failures or 0)
  if row then
    return row, true
  end
  return store.find(key), false
end

--- Takes all of an authorization: the row as it is then, and whether this call took it.
function store.capture(key)
  local row = db.one([[
    update authorizations
    set state = 'captured', captured_amount = amount, updated_at = now()
    where idempotency_key = $1 and state = 'authorized' returning ]] .. columns, key)
  if row then
    return row, true
  end
  return store.find(key), false
end

--- Ends an authorization, or the key of one that never came. Gives the row as it is then.
function store.void(key)
  local row = db.one([[
    insert into authorizations as a (id, idempotency_key, state, outcome, code)
    values ($1, $2, 'voided', 'declined', 'voided')
    on conflict (idempotency_key) do update
      set state = 'voided', updated_at = now() where a.state = 'authorized'
    returning ]] .. columns, random.uuid(), key)
  return row or store.find(key)
end

local function refund(tx, row, key, amount)
  local left = row.captured_amount - row.refunded_amount
  if row.state ~= "captured" or amount > left then
    return nil, fault.new("refused", ("only %.0f can be given back"):format(left), {
      left = left, state = row.state,
    })
  elseif row.refund_failures > 0 then
    tx:query([[update authorizations set refund_failures = refund_failures - 1
               where id = $1]], row.id)
    return { failed = true }
  end
  local made, why = tx:one([[
    insert into refunds (id, idempotency_key, authorization_id, amount)
    values ($1, $2, $3, $4) returning id, amount, created_at]],
    random.uuid(), key, row.id, amount)
  if made then
    tx:query([[update authorizations
               set refunded_amount = refunded_amount + $2, updated_at = now()
               where id = $1]], row.id, amount)
  end
  return made, why
end

--- Gives an amount back, once per key and never more than was captured: the refund,
--- {failed = true} when the network cannot now, or nil, why.
function store.refund(authorization, key, amount)
  return db.tx(function(tx)
    local row = tx:one([[
      select id, state, captured_amount, refunded_amount, refund_failures
      from authorizations where idempotency_key = $1 for update]], authorization)
    if not row then
      return nil, fault.new("missing", "there is no such authorization")
    end
    local before = tx:one([[select id, authorization_id, amount, created_at from refunds
                            where idempotency_key = $1]], key)
    if not before then
      return refund(tx, row, key, amount)
    elseif before.authorization_id ~= row.id or before.amount ~= amount then
      return nil, fault.new("bad_input", "the key was used for another refund")
    end
    before.authorization_id = nil
    return before
  end)
end

return store
