-- The SQL of orders. Every change names the state it expects, so two writers cannot both
-- win.
local db = require "db"
local trace = require "trace"

local store = {}

local select_order = [[
  select o.*, (select json_agg(json_build_object('sku', i.sku, 'quantity', i.quantity,
                 'unit_price', i.unit_price) order by i.position)
               from order_items i where i.order_id = o.id) as items
  from orders o ]]

--- Adds a pending order with its lines, in one statement; refused when the key is taken.
function store.add(order)
  local traceparent = trace.context()
  return db.one([[
    with added as (
      insert into orders (id, customer_id, email, total, currency, idempotency_key,
                          request_hash, traceparent)
      values ($1, $2, $3, $4, $5, $6, $7, $8)
      returning id, status, created_at, updated_at),
    lines as (
      insert into order_items (order_id, position, sku, quantity, unit_price)
      select added.id, l.position, l.line ->> 'sku', (l.line ->> 'quantity')::integer,
             (l.line ->> 'unit_price')::bigint
      from added, jsonb_array_elements($9::jsonb) with ordinality as l (line, position))
    select * from added]],
    order.id, order.customer_id, order.email, order.total, order.currency,
    order.idempotency_key, order.request_hash, traceparent or db.null, order.items)
end

--- pending -> processing, inside the transaction that also adds the events.
function store.confirm(tx, id, reservation_id, payment_id)
  return tx:one([[
    update orders set status = 'processing', reservation_id = $2, payment_id = $3,
                      updated_at = now()
    where id = $1 and status = 'pending'
    returning status, payment_id, updated_at]], id, reservation_id, payment_id)
end

--- pending -> cancelled, with what the caller is told and what is still to be undone.
function store.cancel(id, failure, compensation)
  return db.one([[
    update orders set status = 'cancelled', failure = $2, compensation = $3,
                      updated_at = now()
    where id = $1 and status = 'pending' returning id]],
    id, failure, compensation or db.null)
end

function store.find(id)
  return db.one(select_order .. "where o.id = $1", id)
end

function store.by_key(customer_id, key)
  return db.one(select_order .. "where o.customer_id = $1 and o.idempotency_key = $2",
    customer_id, key)
end

--- {status, n} of every status that occurs.
function store.counts()
  return db.query("select status, count(*) as n from orders group by status")
end

return store
