-- What goes in and out of inventory.
local page = require "page"
local shape = require "shape"

local shapes = {}

local sku = shape.text(1, 32)
local warehouse = shape.text(1, 64)
local units = shape.integer(-2 ^ 53, 2 ^ 53)
local count = shape.integer(0, 2 ^ 53)
local order_id = shape.text(1, 64)
local note = shape.text(1, 200)

local reasons = { "received", "damaged", "lost", "found", "correction" }

-- In.
shapes.one_item = shape.object { sku = shape.example(sku, "SKU-0001") }
shapes.one_order = shape.object { order_id = order_id }

local line = shape.object { sku = sku, quantity = shape.integer(1, 1000) }
shapes.reservation = shape.object {
  order_id = order_id, items = shape.list(line, 1, 50),
}

shapes.adjustment = shape.object {
  sku = sku, warehouse = shape.example(warehouse, "east"),
  quantity = shape.example(shape.integer(-1000000, 1000000), -3), -- and not 0
  reason = shape.one_of(reasons),
  note = shape.optional(note),
}

shapes.listed = page.query {
  q = shape.optional(shape.text(1, 64)),
  warehouse = shape.optional(warehouse),
  low = shape.optional(shape.boolean),
}
shapes.paged = page.query {}
shapes.moved = page.query { warehouse = shape.optional(warehouse) }

-- Events. An order may have lines that no longer pass as a reservation of our own.
local ordered = shape.object({
  sku = sku, quantity = shape.integer(1, 2 ^ 31 - 1),
}, "drop")
shapes.confirmed = shape.object({
  order_id = order_id, items = shape.list(ordered, 1, 50),
}, "drop")
shapes.cancelled = shape.object({ order_id = order_id }, "drop")

-- Out.
shapes.item = shape.object {
  sku = sku, name = shape.text(1, 200), unit_price = count, currency = shape.text(3, 3),
  low_stock_threshold = count, on_hand = count, reserved = count, available = units,
  warehouses = shape.list(shape.object {
    warehouse = warehouse, on_hand = count, reserved = count, available = units,
  }, 0, 1000),
}

shapes.held = shape.object {
  reservation_id = shape.uuid, expires_at = shape.time,
  items = shape.list(shape.object {
    sku = sku, warehouse = warehouse, quantity = count, unit_price = count,
  }, 1, 50000),
}

shapes.released = shape.object { released = shape.boolean }

shapes.movement = shape.object {
  id = count, sku = sku, warehouse = warehouse, quantity = units,
  reason = shape.text(1, 32), order_id = shape.optional(shape.text(1, 128)),
  actor = shape.optional(shape.text(1, 128)), note = shape.optional(note),
  created_at = shape.time,
}

shapes.adjusted = shape.object {
  id = count, sku = sku, warehouse = warehouse, quantity = units,
  reason = shape.one_of(reasons), note = shape.optional(note), created_at = shape.time,
  on_hand = count, reserved = count, available = units, -- as they were right after it
}

shapes.alert = shape.object {
  sku = sku, name = shape.text(1, 200), available = units, threshold = count,
  since = shape.optional(shape.time), -- when it was noticed
}

return shapes
