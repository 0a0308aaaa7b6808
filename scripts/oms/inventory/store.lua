-- The SQL of inventory. What changes holds is decided in C, through `stock`; here is what
-- only reads, and what people do to the shelves.
local db = require "db"

local store = {}

-- More than anybody has of one thing in one place, and far from what the column can hold.
local on_hand_max = 1000000000

local columns = [[p.sku, p.name, p.unit_price, p.currency, p.low_stock_threshold,
  p.low_since, s.on_hand, s.reserved, s.available, s.warehouses
  from products p cross join lateral (
    select coalesce(sum(on_hand), 0) as on_hand, coalesce(sum(reserved), 0) as reserved,
           coalesce(sum(on_hand - reserved), 0) as available,
           coalesce(json_agg(json_build_object('warehouse', warehouse,
             'on_hand', on_hand, 'reserved', reserved, 'available', on_hand - reserved)
             order by warehouse), '[]') as warehouses
    from stock where sku = p.sku) as s]]

local function absent(value)
  if value == nil then
    return db.null
  end
  return value
end

--- A product with its numbers, in total and by warehouse.
function store.item(sku)
  return db.one("select " .. columns .. " where p.sku = $1", sku)
end

--- Products after a SKU, in order: those with q in SKU or name, kept in the warehouse,
--- with no more left than their threshold (low) or with more (low = false).
function store.items(after, filter, limit)
  return db.query("select " .. columns .. [[
    where ($1::text is null or p.sku > $1)
      and ($2::text is null or position(lower($2) in lower(p.sku)) > 0
                            or position(lower($2) in lower(p.name)) > 0)
      and ($3::text is null or exists (
            select 1 from stock k where k.sku = p.sku and k.warehouse = $3))
      and ($4::boolean is null or $4 = (s.available <= p.low_stock_threshold))
    order by p.sku limit $5]],
    absent(after), absent(filter.q), absent(filter.warehouse), absent(filter.low), limit)
end

--- What happened to a product, the newest first.
function store.movements(sku, warehouse, before, limit)
  return db.query([[
    select id, id as seq, sku, warehouse, quantity, reason, order_id, actor, note,
           created_at
    from movements
    where sku = $1 and ($2::text is null or warehouse = $2)
      and ($3::bigint is null or id < $3)
    order by id desc limit $4]],
    sku, absent(warehouse), absent(before), limit)
end

--- What can be sold of everything, by warehouse: at most 200 rows.
function store.levels()
  return db.query([[select sku, warehouse, on_hand - reserved as available
                    from stock order by sku, warehouse limit 200]])
end

--- How many products have no more left than their threshold.
function store.low_count()
  return db.one([[
    select count(*) as n
    from (select p.sku from products p join stock s on s.sku = p.sku
          group by p.sku
          having sum(s.on_hand - s.reserved) <= p.low_stock_threshold) as low]]).n
end

--- The SKUs that orders hold or held.
function store.skus_of(order_ids)
  return db.query([[
    select distinct l.sku from holds h join hold_lines l on l.hold_id = h.id
    where h.order_id in (select jsonb_array_elements_text($1::jsonb))]], order_ids)
end

--- Orders whose holds should have ended by now, the oldest first.
function store.overdue(limit)
  return db.query([[
    select order_id from holds where state = 'held' and expires_at <= now()
    order by expires_at limit $1]], limit)
end

--- Products that have run low since the last time, at most so many. They are marked.
function store.take_low(tx, limit)
  return tx:query([[
    update products p set low_since = now()
    from (select q.sku, sum(s.on_hand - s.reserved) as available
          from products q join stock s on s.sku = q.sku
          where q.low_since is null
          group by q.sku
          having sum(s.on_hand - s.reserved) <= q.low_stock_threshold
          order by q.sku limit $1) as low
    where p.sku = low.sku and p.low_since is null
    returning p.sku, p.name, low.available, p.low_stock_threshold as threshold]], limit)
end

--- Products that have enough again: the next crossing is a new one.
function store.forget_low(tx)
  tx:query([[
    update products p set low_since = null
    from (select sku, sum(on_hand - reserved) as available from stock group by sku) as s
    where p.sku = s.sku and p.low_since is not null
      and s.available > p.low_stock_threshold]])
end

--- Takes an idempotency key. False: it was taken before.
function store.claim(tx, actor, key, hash)
  return tx:one([[
    insert into adjustments (actor, idempotency_key, request_hash) values ($1, $2, $3)
    on conflict do nothing returning actor]], actor, key, hash) ~= nil
end

--- What was done under a key.
function store.adjustment(tx, actor, key)
  return tx:one([[
    select a.request_hash, a.on_hand, a.reserved, a.on_hand - a.reserved as available,
           m.id, m.sku, m.warehouse, m.quantity, m.reason, m.note, m.created_at
    from adjustments a join movements m on m.id = a.movement_id
    where a.actor = $1 and a.idempotency_key = $2]], actor, key)
end

--- Changes what is on hand, with its movement, under a claimed key. False: there is no
--- such place, or the number cannot be.
function store.adjust(tx, actor, key, change)
  return tx:one([[
    with changed as (
      update stock set on_hand = on_hand + $3
      where sku = $1 and warehouse = $2 and on_hand + $3::bigint between reserved and $8
      returning on_hand, reserved
    ), moved as (
      insert into movements (sku, warehouse, quantity, reason, note, actor)
      select $1, $2, $3, $4, $5, $6 from changed
      returning id
    )
    update adjustments a
    set movement_id = moved.id, on_hand = changed.on_hand, reserved = changed.reserved
    from changed, moved
    where a.actor = $6 and a.idempotency_key = $7
    returning a.movement_id]],
    change.sku, change.warehouse, change.quantity, change.reason, absent(change.note),
    actor, key, on_hand_max) ~= nil
end

--- A product, with its numbers in a warehouse that keeps it; nil when there is none.
function store.place(tx, sku, warehouse)
  return tx:one([[select p.sku, s.warehouse, s.on_hand, s.reserved
                  from products p left join stock s on s.sku = p.sku and s.warehouse = $2
                  where p.sku = $1]], sku, warehouse)
end

return store
