-- Inventory: what the native decisions look like from outside.
local fault = require "fault"
local test = require "test"
local inventory = test.service "oms/inventory"

local cache = require "cache"
local stock = require "stock"
local store = require "store"

local demo = { sub = "u1", role = "customer" }

local function world()
  local dropped = {}
  test.replace(cache, "drop", function(key) table.insert(dropped, key) end)
  test.replace(cache, "get", function() end)
  test.replace(cache, "put", function() end)
  test.replace(store, "skus_of", function() return { { sku = "SKU-0001" } } end)
  test.replace(store, "item", function(sku)
    return sku == "SKU-0001" and { sku = sku, available = 5 } or nil
  end)
  return dropped
end

local function reserve(items)
  return test.call(inventory, "POST /api/v1/inventory/reserve", {
    user = demo, body = { order_id = "o1", items = items },
  })
end

test.case("a product is shown, an unknown one is missing", function()
  world()
  local function get(sku)
    return test.call(inventory, "GET /api/v1/inventory/" .. sku, { user = demo })
  end
  test.equal(get("SKU-0001").body.available, 5)
  test.equal({ get("NOPE").status, get("NOPE").body.kind }, { 404, "missing" })
end)

test.case("a reservation forgets what was cached of its products", function()
  local dropped = world()
  local asked
  test.replace(stock, "reserve", function(order)
    asked = order
    return { reservation_id = "r", expires_at = "t", items = order.items }
  end)
  local answer = reserve { { sku = "SKU-0001", quantity = 2 } }
  test.equal({ answer.status, answer.body.reservation_id }, { 201, "r" })
  test.equal({ asked.order_id, asked.ttl_s }, { "o1", 900 })
  test.equal(dropped, { "item:SKU-0001" })
end)

test.case("not enough is 409, an unknown product is named", function()
  world()
  test.replace(stock, "reserve", function()
    return nil, fault.new("refused", "not enough SKU-0001")
  end)
  test.equal(reserve({ { sku = "SKU-0001", quantity = 2 } }).status, 409)
  test.replace(stock, "reserve", function()
    return nil, fault.new("missing", "unknown", { sku = "NOPE" })
  end)
  local answer = reserve {
    { sku = "SKU-0001", quantity = 2 }, { sku = "NOPE", quantity = 1 },
  }
  test.equal({ answer.status, answer.body.errors[1].field }, { 422, "items[1].sku" })
end)

test.case("reservations that were made are counted, refused ones are not", function()
  world()
  local count = test.value "inventory_reservations_total"
  test.replace(stock, "reserve", function(order)
    return { reservation_id = "r", expires_at = "t", items = order.items }
  end)
  reserve { { sku = "SKU-0001", quantity = 2 } }
  test.replace(stock, "reserve", function()
    return nil, fault.new("refused", "not enough SKU-0001")
  end)
  reserve { { sku = "SKU-0001", quantity = 2 } }
  test.equal(test.value "inventory_reservations_total", count + 1)
end)

test.case("quantities are whole and positive", function()
  world()
  for _, quantity in ipairs { 0, -1, 1.5, "2" } do
    local answer = reserve { { sku = "SKU-0001", quantity = quantity } }
    test.equal(answer.body.errors[1].field, "items[0].quantity")
  end
end)

test.case("releasing what is not held changes nothing", function()
  world()
  test.replace(stock, "release", function()
    return nil, fault.new("missing", "no hold")
  end)
  local answer = test.call(inventory, "POST /api/v1/inventory/release", {
    user = demo, body = { order_id = "o1" },
  })
  test.equal({ answer.status, answer.body.released }, { 200, false })
end)

test.case("a confirmed order is sold; what cannot be is delivered again", function()
  world()
  local consumer, sold = inventory.consumers[1], nil
  test.equal(consumer.bind, { "order.confirmed" })
  test.replace(stock, "sell", function(order_id)
    sold = order_id
    return { sold = true }
  end)
  consumer.handler { body = { order_id = "o1", total = 5 } }
  test.equal(sold, "o1")
  test.replace(stock, "sell", function() return nil, fault.new("refused", "released") end)
  test.fails(function() consumer.handler { body = { order_id = "o1" } } end, "refused")
  test.fails(function() consumer.handler { body = {} } end, "bad_input")
end)

return test.suite()
