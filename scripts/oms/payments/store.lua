-- The SQL of payments. Of a card it keeps the brand and the last four digits.
local db = require "db"

local store = {}

-- A pending payment this old was left behind by a process that ended.
local abandoned_s = 10

--- Claims the key: a new pending payment, or refused because key or order is taken.
function store.add(payment)
  return db.one([[
    insert into payments (id, customer_id, order_id, idempotency_key, request_hash,
                          amount, currency, method, card_brand, card_last4)
    values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) returning *]],
    payment.id, payment.customer_id, payment.order_id, payment.idempotency_key,
    payment.request_hash, payment.amount, payment.currency, payment.method,
    payment.card_brand, payment.card_last4)
end

--- Takes up a payment whose outcome is open and that nobody is working on.
function store.take_up(id)
  return db.one([[
    update payments set status = 'pending', updated_at = now()
    where id = $1 and (status = 'uncertain'
      or status = 'pending' and updated_at < now() - make_interval(secs => $2))
    returning *]], id, abandoned_s)
end

--- Writes the outcome of a pending payment; gives the row.
function store.settle(id, status, code, authorization_id)
  return db.one([[
    update payments set status = $2, code = $3, authorization_id = $4, updated_at = now()
    where id = $1 and status = 'pending' returning *]],
    id, status, code or db.null, authorization_id or db.null)
end

function store.by_key(customer_id, key)
  return db.one("select * from payments where customer_id = $1 and idempotency_key = $2",
    customer_id, key)
end

function store.find(id)
  return db.one("select * from payments where id = $1", id)
end

function store.by_order(order_id)
  return db.query("select * from payments where order_id = $1 order by created_at, id",
    order_id)
end

return store
