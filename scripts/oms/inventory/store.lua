-- The SQL of inventory that only reads. What changes stock is decided in C, through
-- `stock`.
local db = require "db"

local store = {}

--- A product with its numbers, in total and by warehouse.
function store.item(sku)
  return db.one([[
    select p.sku, p.name, p.unit_price, p.currency, p.low_stock_threshold,
           sum(s.on_hand) as on_hand, sum(s.reserved) as reserved,
           sum(s.on_hand - s.reserved) as available,
           json_agg(json_build_object('warehouse', s.warehouse, 'on_hand', s.on_hand,
             'reserved', s.reserved, 'available', s.on_hand - s.reserved)
             order by s.warehouse) as warehouses
    from products p join stock s on s.sku = p.sku
    where p.sku = $1
    group by p.sku]], sku)
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

--- The SKUs an order holds or held.
function store.skus_of(order_id)
  return db.query([[
    select distinct l.sku from holds h join hold_lines l on l.hold_id = h.id
    where h.order_id = $1]], order_id)
end

return store
