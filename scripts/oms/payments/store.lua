-- The SQL of payments. Whoever works on a payment holds an attempt of it: what a worker
-- that was overtaken wants to write finds no row.
local conf = require "conf"
local db = require "db"
local random = require "random"

local store = {}

-- A pending payment this old was left behind by a process that ended. Younger ones, and
-- uncertain ones, are left to those who asked: they may ask again.
store.abandoned_s = conf.option("reconcile_after_s", 10)

--- Claims key and order: a new pending payment, or refused because one of them is taken.
function store.add(payment)
  return db.one([[
    insert into payments (id, customer_id, order_id, caller, idempotency_key,
      request_hash, amount, currency, method, country, card_brand, card_last4,
      paypal_email, iban_country, iban_last4)
    values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)
    returning *]],
    payment.id, payment.customer_id, payment.order_id, payment.caller,
    payment.idempotency_key, payment.request_hash, payment.amount, payment.currency,
    payment.method, payment.country or db.null, payment.card_brand, payment.card_last4,
    payment.paypal_email, payment.iban_country, payment.iban_last4)
end

--- Takes up a payment whose outcome is open and that nobody is working on.
function store.take_up(id)
  return db.one([[
    update payments set status = 'pending', attempt = attempt + 1, attempt_at = now()
    where id = $1 and (status = 'uncertain'
      or status = 'pending' and attempt_at < now() - make_interval(secs => $2))
    returning *]], id, store.abandoned_s)
end

--- Takes up so many payments that are open for too long, each for one caller.
function store.take_up_old(limit)
  return db.query([[
    update payments set status = 'pending', attempt = attempt + 1, attempt_at = now()
    where id in (select id from payments
                 where status in ('pending', 'uncertain')
                   and attempt_at < now() - make_interval(secs => $1)
                 order by attempt_at limit $2 for update skip locked)
    returning *]], store.abandoned_s, limit)
end

--- Writes that the acquirer has authorized it: nil when the attempt is over.
function store.authorized(payment, authorization_id)
  return db.one([[
    update payments set authorization_id = $3, updated_at = now()
    where id = $1 and attempt = $2 and status = 'pending' returning *]],
    payment.id, payment.attempt, authorization_id or db.null)
end

--- Writes the outcome of a pending payment: the row, or nil when the attempt is over.
---@param payment table
---@param status string
---@param code? string
---@param said said
function store.settle(payment, status, code, said)
  return db.one([[
    update payments set status = $3, code = $4,
      authorization_id = coalesce($5, authorization_id), void_due = $6,
      updated_at = now(),
      uncertain_at = case when $3 = 'uncertain' then coalesce(uncertain_at, now())
                          else uncertain_at end
    where id = $1 and attempt = $2 and status = 'pending'
    returning *, status = 'uncertain' and uncertain_at = updated_at as newly_uncertain]],
    payment.id, payment.attempt, status, code or db.null, said.id or db.null,
    said.void_due or false)
end

--- Takes up so many failed payments that the acquirer has to void.
function store.take_up_void_due(limit)
  return db.query([[
    update payments set attempt_at = now()
    where id in (select id from payments
                 where void_due and attempt_at < now() - make_interval(secs => $1)
                 order by attempt_at limit $2 for update skip locked)
    returning *]], store.abandoned_s, limit)
end

--- The acquirer has voided it.
function store.void_done(id)
  db.query("update payments set void_due = false where id = $1", id)
end

--- Takes the order's place for good, so that no payment of it can: whether that went.
function store.void(order_id)
  return db.one([[
    insert into payments (id, order_id, status) values ($1, $2, 'voided')
    on conflict (order_id)
      where status in ('pending', 'captured', 'uncertain', 'refunded', 'voided')
      do nothing
    returning id]], random.uuid(), order_id) ~= nil
end

--- The one that takes the order's place, if any.
function store.live(order_id)
  return db.one([[
    select * from payments where order_id = $1
      and status in ('pending', 'captured', 'uncertain', 'refunded', 'voided')]],
    order_id)
end

function store.by_key(caller, key)
  return db.one("select * from payments where caller = $1 and idempotency_key = $2",
    caller, key)
end

function store.find(id)
  return db.one("select * from payments where id = $1 and status <> 'voided'", id)
end

function store.by_order(order_id)
  return db.query([[
    select * from payments where order_id = $1 and status <> 'voided' order by seq]],
    order_id)
end

--- A page of payments, the newest first, of one customer or of everybody.
function store.list(owner, wanted, before, limit)
  return db.query([[
    select * from payments
    where status <> 'voided'
      and ($1::uuid is null or customer_id = $1) and ($2::text is null or status = $2)
      and ($3::text is null or order_id = $3) and ($4::text is null or method = $4)
      and ($5::uuid is null or customer_id = $5) and ($6::bigint is null or seq < $6)
    order by seq desc limit $7]],
    owner or db.null, wanted.status or db.null, wanted.order_id or db.null,
    wanted.method or db.null, wanted.customer_id or db.null, before or db.null, limit)
end

return store
