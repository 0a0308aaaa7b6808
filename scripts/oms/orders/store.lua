-- The SQL of orders. Every change names the state it expects, so two writers cannot both
-- win.
local db = require "db"
local trace = require "trace"

local store = {}

local columns = [[
  o.*, (select json_agg(json_build_object('sku', i.sku, 'quantity', i.quantity,
                 'unit_price', i.unit_price) order by i.position)
        from order_items i where i.order_id = o.id) as items ]]

--- Adds a pending order with its lines, in one statement; refused when the key is taken.
function store.add(order)
  local traceparent = trace.context()
  local row, why = db.one([[
    with added as (
      insert into orders (id, customer_id, email, total, currency, method, country, note,
                          idempotency_key, request_hash, traceparent)
      values ($1, $2, $3, $4, $5, $6, $7, nullif($8, ''), $9, $10, $11)
      returning *),
    lines as (
      insert into order_items (order_id, position, sku, quantity, unit_price)
      select added.id, l.position, l.line ->> 'sku', (l.line ->> 'quantity')::integer,
             (l.line ->> 'unit_price')::bigint
      from added, jsonb_array_elements($12::jsonb) with ordinality as l (line, position))
    select * from added]],
    order.id, order.customer_id, order.email, order.total, order.currency, order.method,
    order.country or db.null, order.note or db.null, order.idempotency_key,
    order.request_hash, traceparent or db.null, order.items)
  if row then
    row.items = order.items
  end
  return row, why
end

--- pending -> processing, inside the transaction that also adds the events.
function store.confirm(tx, id, reservation_id, payment_id)
  return tx:one([[
    update orders o set status = 'processing', reservation_id = $2, payment_id = $3,
                        version = version + 1, updated_at = now()
    where o.id = $1 and o.status = 'pending'
    returning ]] .. columns, id, reservation_id, payment_id)
end

--- how.from -> cancelled. Whoever cancels a paid order owes its money, from here on.
---@param how {from: string, reason: string, failure: table?, payment_id: string?}
function store.cancel(tx, id, how)
  return tx:one([[
    update orders o set status = 'cancelled', cancelled_at = now(), cancel_reason = $3,
           failure = $4, payment_id = coalesce($5::uuid, payment_id),
           compensation = case when coalesce($5::uuid, payment_id) is not null
                               then 'refund_pending' end,
           version = version + 1, updated_at = now()
    where o.id = $1 and o.status = $2
    returning ]] .. columns,
    id, how.from, how.reason, how.failure or db.null, how.payment_id or db.null)
end

--- Has a cancelled order owe a payment that it did not know of.
function store.owe(id, payment_id)
  return db.one([[
    update orders set payment_id = $2, compensation = 'refund_pending',
                      version = version + 1, updated_at = now()
    where id = $1 and status = 'cancelled' and payment_id is null
    returning id]], id, payment_id)
end

--- The money is back: nothing is owed any more.
function store.refunded(id)
  return db.one([[
    update orders o set compensation = null, version = version + 1, updated_at = now()
    where o.id = $1 and o.compensation = 'refund_pending'
    returning ]] .. columns, id)
end

--- The order, locked until the transaction ends.
function store.lock(tx, id)
  return tx:one([[select ]] .. columns .. [[ from orders o where o.id = $1 for update]],
    id)
end

--- Writes status and note of an order that the transaction has locked.
function store.change(tx, id, status, note)
  return tx:one([[
    update orders o set status = $2, note = nullif(coalesce($3, note), ''),
                        version = version + 1, updated_at = now()
    where o.id = $1
    returning ]] .. columns, id, status, note or db.null)
end

--- Up to `limit` orders that were left behind: pending, or owing money, since before
--- after_s. Each is marked, so that the next look gets others, also on another replica;
--- it comes again after retry_s.
function store.take_unfinished(after_s, retry_s, limit)
  return db.query([[
    update orders o set tried_at = now()
    where o.id in (
      select id from orders
      where (status = 'pending' and created_at < now() - make_interval(secs => $1)
             or compensation is not null
                and cancelled_at < now() - make_interval(secs => $2))
        and (tried_at is null or tried_at < now() - make_interval(secs => $2))
      order by tried_at nulls first, created_at limit $3
      for update skip locked)
    returning ]] .. columns, after_s, retry_s, limit)
end

--- How many orders have waited for their end for longer than after_s.
function store.unfinished(after_s)
  return db.one([[
    select count(*) as n from orders
    where status = 'pending' and created_at < now() - make_interval(secs => $1)
       or compensation is not null and cancelled_at < now() - make_interval(secs => $1)]],
    after_s).n
end

function store.find(id)
  return db.one([[select ]] .. columns .. [[ from orders o where o.id = $1]], id)
end

function store.by_key(customer_id, key)
  return db.one([[select ]] .. columns .. [[ from orders o
    where o.customer_id = $1 and o.idempotency_key = $2]], customer_id, key)
end

--- Orders, the newest first; a wish that is nil is none.
---@param wish {before: integer?, customer_id: string?, status: string?, from: number?,
---  to: number?, min_total: integer?, max_total: integer?, text: string?,
---  first_id: string?, last_id: string?, by_email: boolean?, limit: integer}
function store.list(wish)
  local null = db.null
  return db.query([[select ]] .. columns .. [[ from orders o
    where ($1::bigint is null or o.seq < $1)
      and ($2::uuid is null or o.customer_id = $2)
      and ($3::text is null or o.status = $3)
      and ($4::float8 is null or o.created_at >= to_timestamp($4))
      and ($5::float8 is null or o.created_at < to_timestamp($5))
      and ($6::bigint is null or o.total >= $6)
      and ($7::bigint is null or o.total <= $7)
      and ($8::text is null or o.id between $9::uuid and $10::uuid
           or exists (select from order_items i where i.order_id = o.id
                                                  and i.sku = upper($8))
           or $11::boolean and strpos(lower(o.email), $8) > 0)
    order by o.seq desc limit $12]],
    wish.before or null, wish.customer_id or null, wish.status or null,
    wish.from or null, wish.to or null, wish.min_total or null, wish.max_total or null,
    wish.text or null, wish.first_id or null, wish.last_id or null,
    wish.by_email or false, wish.limit)
end

--- {status, n} of every status that occurs.
function store.counts()
  return db.query("select status, count(*) as n from orders group by status")
end

return store
