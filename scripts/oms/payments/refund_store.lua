-- The SQL of refunds. The lock of the payment's row makes those who want its money one
-- after the other; what is pending or uncertain counts as given back until it has failed.
local db = require "db"
local fault = require "fault"
local random = require "random"
local store = require "store"

local refund_store = {}

local function insert(tx, payment, refund)
  local promised = tx:one([[
    select coalesce(sum(amount), 0)::bigint as amount from refunds
    where payment_id = $1 and status <> 'failed']], payment.id).amount
  local left = payment.amount - promised
  local amount = refund.amount or left
  if amount > left or left == 0 then
    return nil, fault.new("refused", ("only %.0f is left to give back"):format(left), {
      left = left, payment_id = payment.id,
    })
  end
  local row, why = tx:one([[
    insert into refunds
      (id, payment_id, caller, idempotency_key, request_hash, amount, reason)
    values ($1, $2, $3, $4, $5, $6, $7) returning *]],
    random.uuid(), payment.id, refund.caller, refund.idempotency_key,
    refund.request_hash, amount, refund.reason or db.null)
  return row and { fresh = row }, why
end

--- Claims key and money: {fresh = row}, {before = row} for a key that is known, or nil,
--- why. Refused with why.left says how much there is.
function refund_store.add(refund)
  return db.tx(function(tx)
    local payment = tx:one([[
      select id, status, amount from payments
      where id = $1 and status <> 'voided' for update]], refund.payment_id)
    local before = tx:one([[
      select * from refunds where caller = $1 and idempotency_key = $2]],
      refund.caller, refund.idempotency_key)
    if before then
      return { before = before }
    elseif not payment then
      return nil, fault.new("missing", "there is no such payment")
    elseif payment.status ~= "captured" and payment.status ~= "refunded" then
      local detail = "the payment is " .. payment.status .. ", not captured"
      return nil, fault.new("refused", detail, { payment_id = payment.id, left = 0 })
    end
    return insert(tx, payment, refund)
  end)
end

function refund_store.take_up(id)
  return db.one([[
    update refunds set status = 'pending', attempt = attempt + 1, attempt_at = now()
    where id = $1 and (status = 'uncertain'
      or status = 'pending' and attempt_at < now() - make_interval(secs => $2))
    returning *]], id, store.abandoned_s)
end

--- Takes up so many refunds that are open for too long, each for one caller.
function refund_store.take_up_old(limit)
  return db.query([[
    update refunds set status = 'pending', attempt = attempt + 1, attempt_at = now()
    where id in (select id from refunds
                 where status in ('pending', 'uncertain')
                   and attempt_at < now() - make_interval(secs => $1)
                 order by attempt_at limit $2 for update skip locked)
    returning *]], store.abandoned_s, limit)
end

--- Writes what came of an attempt, and with `done` what the payment has given back: the
--- row, or nil when the attempt is over.
function refund_store.settle(refund, status, code)
  return db.tx(function(tx)
    local row = tx:one([[
      update refunds set status = $3, code = $4, updated_at = now()
      where id = $1 and attempt = $2 and status = 'pending' returning *]],
      refund.id, refund.attempt, status, code or db.null)
    if row and status == "done" then
      tx:query([[
        update payments set refunded = refunded + $2, updated_at = now(),
          status = case when refunded + $2 = amount then 'refunded' else status end
        where id = $1]], row.payment_id, row.amount)
    end
    return row
  end)
end

function refund_store.find(id)
  return db.one("select * from refunds where id = $1", id)
end

function refund_store.by_key(caller, key)
  return db.one("select * from refunds where caller = $1 and idempotency_key = $2",
    caller, key)
end

function refund_store.of_payment(payment_id)
  return db.query("select * from refunds where payment_id = $1 order by seq", payment_id)
end

return refund_store
