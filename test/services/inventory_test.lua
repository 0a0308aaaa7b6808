-- Inventory: what the native decisions look like from outside.
local fault = require "fault"
local test = require "test"
local inventory = test.service "oms/inventory"

local cache = require "cache"
local db = require "db"
local json = require "json"
local outbox = require "outbox"
local stock = require "stock"
local store = require "store"
local task = require "task"

local demo = { sub = "u1", role = "customer" }
local clerk = { sub = "u2", role = "operator" }
local peer = { sub = "u3", role = "service" }

local hold_id = "11111111-1111-4111-8111-111111111111"
local noon = "2026-11-20T12:00:00.000Z"

local function row_of(sku)
  return {
    sku = sku, name = "Brass sundial", unit_price = 499, currency = "USD",
    low_stock_threshold = 10, on_hand = 7, reserved = 2, available = 5,
    warehouses = json.array { { warehouse = "east", on_hand = 7, reserved = 2,
      available = 5 } },
  }
end

-- Without stores. Gives the keys that are dropped from the cache.
local function world()
  local dropped = {}
  test.replace(cache, "drop", function(key) table.insert(dropped, key) end)
  test.replace(cache, "get", function() end)
  test.replace(cache, "put", function() end)
  test.replace(store, "skus_of", function() return { { sku = "SKU-0001" } } end)
  test.replace(store, "item", function(sku)
    return sku == "SKU-0001" and row_of(sku) or nil
  end)
  return dropped
end

local function get(path, user, query)
  return test.call(inventory, "GET /api/v1/inventory" .. path, {
    user = user or demo, query = query,
  })
end

local function post(path, body, user, headers)
  return test.call(inventory, "POST /api/v1/inventory/" .. path, {
    user = user or peer, body = body, headers = headers,
  })
end

local function reserve(items, user)
  return post("reserve", { order_id = "o1", items = items }, user)
end

local function hold_for(order)
  local items = json.array {}
  for i, item in ipairs(order.items) do
    items[i] = {
      sku = item.sku, quantity = item.quantity, unit_price = 499, warehouse = "east",
    }
  end
  return { reservation_id = hold_id, expires_at = noon, items = items }
end

local function consumer(key)
  for _, entry in ipairs(inventory.consumers) do
    if entry.bind[1] == key then
      return entry.handler
    end
  end
end

-- Transactions of the fake database; events that are added come to the list.
local function with_outbox()
  local events = {}
  test.replace(db, "tx", function(fn) return fn {} end)
  test.replace(outbox, "add", function(_, key, body)
    table.insert(events, { key = key, body = body })
  end)
  return events
end

test.case("a product is shown, an unknown one is missing", function()
  world()
  test.equal(get("/SKU-0001").body.available, 5)
  test.equal({ get("/NOPE").status, get("/NOPE").body.kind }, { 404, "missing" })
end)

test.case("what the cache has is not asked of the database", function()
  world()
  local kept = row_of "SKU-0001"
  kept.available = 4
  test.replace(cache, "get", function() return kept end)
  test.replace(store, "item", function() error("the database was asked") end)
  test.equal(get("/SKU-0001").body.available, 4)
end)

test.case("a list has a page's rows, and a cursor when there are more", function()
  world()
  local asked
  test.replace(store, "items", function(after, filter, limit)
    asked = { after = after, low = filter.low, q = filter.q, limit = limit }
    return { row_of "SKU-0001", row_of "SKU-0002", row_of "SKU-0003" }
  end)
  local first = get("", demo, { limit = "2", low = "true", q = "brass" }).body
  test.equal(asked, { low = true, q = "brass", limit = 3 })
  test.equal({ #first.items, first.items[2].sku }, { 2, "SKU-0002" })
  local last = get("", demo, { limit = "3", cursor = first.next_cursor }).body
  test.equal({ asked.after, #last.items }, { "SKU-0002", 3 })
  test.equal(last.next_cursor, nil)
end)

test.case("a cursor of another list is refused by name", function()
  world()
  for _, cursor in ipairs { "x", "czEy", "aw" } do -- nonsense, one of a page, no SKU
    local answer = get("", demo, { cursor = cursor })
    test.equal({ answer.status, answer.body.errors[1].field }, { 422, "cursor" })
  end
end)

test.case("alerts are those that run low, and no SKU", function()
  world()
  test.replace(store, "items", function(_, filter)
    test.equal(filter, { low = true })
    return { row_of "SKU-0017" }
  end)
  local answer = get("/alerts", clerk)
  test.equal(answer.body.items, {
    { sku = "SKU-0017", name = "Brass sundial", available = 5, threshold = 10 },
  })
end)

test.case("movements come with a cursor; those of no product are missing", function()
  world()
  test.replace(store, "movements", function(sku, warehouse, before, limit)
    if sku ~= "SKU-0001" then
      return {}
    end
    test.equal({ warehouse, limit }, { "east", 2 })
    local rows = {}
    for id = (before or 10) - 1, (before or 10) - 2, -1 do
      table.insert(rows, {
        id = id, seq = id, sku = sku, warehouse = "east", quantity = -1, reason = "sold",
        order_id = "o1", created_at = noon,
      })
    end
    return rows
  end)
  local query = { limit = "1", warehouse = "east" }
  local first = get("/SKU-0001/movements", clerk, query).body
  test.equal({ #first.items, first.items[1].id }, { 1, 9 })
  query.cursor = first.next_cursor
  test.equal(get("/SKU-0001/movements", clerk, query).body.items[1].id, 8)
  test.equal(get("/NOPE/movements", clerk).status, 404)
end)

test.case("who may do what", function()
  world()
  test.replace(store, "items", function() return {} end)
  test.replace(store, "movements", function() return {} end)
  test.replace(stock, "reserve", hold_for)
  test.replace(stock, "release", function() return { released = false } end)
  local allowed = { customer = 0, operator = 0, admin = 0, service = 0 }
  for role in pairs(allowed) do
    local user = { sub = "u", role = role }
    local statuses = {
      get("", user).status, get("/SKU-0001", user).status, get("/alerts", user).status,
      get("/SKU-0001/movements", user).status,
      reserve({ { sku = "SKU-0001", quantity = 1 } }, user).status,
      post("release", { order_id = "o1" }, user).status,
      post("adjust", {}, user).status,
    }
    local expected = { 200, 200, 200, 200, 201, 200, 422 }
    if role == "customer" then
      expected = { 200, 200, 403, 403, 403, 403, 403 }
    elseif role == "service" then
      expected[7] = 403
    end
    test.equal(statuses, expected, role)
  end
  test.equal(test.call(inventory, "GET /api/v1/inventory").status, 401)
end)

test.case("a reservation forgets what was cached of its products", function()
  local dropped = world()
  local asked
  test.replace(stock, "reserve", function(order)
    asked = order
    return hold_for(order)
  end)
  local answer = reserve {
    { sku = "SKU-0001", quantity = 2 }, { sku = "SKU-0001", quantity = 1 },
  }
  test.equal({ answer.status, answer.body.reservation_id }, { 201, hold_id })
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
  test.replace(stock, "reserve", hold_for)
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
  local dropped = world()
  test.replace(stock, "release", function()
    return nil, fault.new("missing", "no hold")
  end)
  local answer = post("release", { order_id = "o1" })
  test.equal({ answer.status, answer.body.released }, { 200, false })
  test.equal(dropped, {})
end)

-- Adjustments -------------------------------------------------------------------------

-- A database of one place, SKU-0001 in east with 7 on hand and 2 reserved, and its keys.
local function shelves()
  local done, on_hand = {}, 7
  test.replace(db, "tx", function(fn) return fn {} end)
  test.replace(store, "claim", function(_, actor, key, hash)
    local taken = done[actor .. key] ~= nil
    done[actor .. key] = done[actor .. key] or { request_hash = hash }
    return not taken
  end)
  test.replace(store, "place", function(_, sku, warehouse)
    if sku == "SKU-0001" then
      return {
        sku = sku, warehouse = warehouse == "east" and warehouse or nil,
        on_hand = on_hand, reserved = 2,
      }
    end
  end)
  test.replace(store, "adjust", function(_, actor, key, change)
    if change.sku ~= "SKU-0001" or change.warehouse ~= "east"
      or on_hand + change.quantity < 2 then
      done[actor .. key] = nil -- rolled back
      return false
    end
    on_hand = on_hand + change.quantity
    local row = done[actor .. key]
    for name, value in pairs(change) do
      row[name] = value
    end
    row.id, row.created_at = 5, noon
    row.on_hand, row.reserved, row.available = on_hand, 2, on_hand - 2
    return true
  end)
  test.replace(store, "adjustment", function(_, actor, key) return done[actor .. key] end)
end

local function adjust(change, key)
  local body = { sku = "SKU-0001", warehouse = "east", quantity = -3, reason = "damaged" }
  for name, value in pairs(change) do
    body[name] = value
  end
  return post("adjust", body, clerk, { ["Idempotency-Key"] = key or "k1" })
end

test.case("an adjustment is done once per key, and answered the same again", function()
  local dropped = world()
  shelves()
  local first = adjust { note = "dropped" }
  test.equal({ first.status, first.body.on_hand, first.body.available }, { 201, 4, 2 })
  test.equal(first.headers.Location, "/api/v1/inventory/SKU-0001/movements")
  test.equal(adjust({ note = "dropped" }).body, first.body)
  test.equal(dropped[1], "item:SKU-0001")
  local other = adjust { note = "dropped", quantity = -1 }
  test.equal({ other.status, other.body.errors[1].field }, { 422, "Idempotency-Key" })
  test.equal(adjust({ quantity = -1 }, "k2").body.on_hand, 3)
end)

test.case("what is reserved cannot be adjusted away", function()
  local dropped = world()
  shelves()
  local answer = adjust { quantity = -6 }
  test.equal({ answer.status, answer.body.on_hand, answer.body.reserved }, { 409, 7, 2 })
  test.equal(dropped, {})
end)

test.case("an adjustment names what is wrong with it", function()
  world()
  shelves()
  for field, value in pairs {
    sku = "NOPE", warehouse = "moon", quantity = 0, reason = "because",
  } do
    local answer = adjust { [field] = value }
    test.equal({ answer.status, answer.body.errors[1].field }, { 422, field })
  end
  local answer = post("adjust", { sku = "SKU-0001", warehouse = "east", quantity = 1,
    reason = "found" }, clerk)
  test.equal({ answer.status, answer.body.errors[1].field }, { 422, "Idempotency-Key" })
end)

-- Orders ------------------------------------------------------------------------------

local function confirm(order_id)
  consumer "order.confirmed" {
    body = {
      event_id = hold_id, order_id = order_id or "o1", total = 5,
      items = json.array { { sku = "SKU-0001", quantity = 2, unit_price = 499 } },
    },
  }
end

local function ended(state)
  return nil, fault.new("refused", "the hold of this order has ended", { hold = state })
end

test.case("a confirmed order is sold, and its products forgotten", function()
  local dropped, sold = world(), nil
  test.replace(stock, "sell", function(order_id)
    sold = order_id
    return { sold = true }
  end)
  confirm()
  test.equal({ sold, dropped[1] }, { "o1", "item:SKU-0001" })
  test.fails(function() consumer "order.confirmed" { body = {} } end, "bad_input")
end)

test.case("a hold that expired or never was is taken anew, and sold", function()
  world()
  for _, state in ipairs { "expired", "none" } do
    local again, sales = nil, 0
    test.replace(stock, "sell", function()
      sales = sales + 1
      if again then
        return { sold = true }
      elseif state == "none" then
        return nil, fault.new("missing", "nothing is held for this order")
      end
      return ended(state)
    end)
    test.replace(stock, "reserve", function(order)
      again = order
      return hold_for(order)
    end)
    confirm()
    test.equal({ again.order_id, again.items[1].quantity, sales }, { "o1", 2, 2 })
  end
end)

test.case("a paid order whose stock is gone is told to be lost", function()
  world()
  local events, woken = with_outbox(), 0
  for _, job in ipairs(inventory.jobs) do
    if job.name == "outbox" then
      test.replace(job, "wake", function() woken = woken + 1 end)
    end
  end
  test.replace(stock, "sell", function() return ended "expired" end)
  test.replace(stock, "reserve", function()
    return nil, fault.new("refused", "not enough stock", { sku = "SKU-0001" })
  end)
  confirm()
  test.equal(events, {
    { key = "inventory.hold_lost", body = { order_id = "o1", sku = "SKU-0001" } },
  })
  test.equal({ woken, test.logs()[1].severity }, { 1, "warn" })
end)

test.case("who was cancelled after the sale is neither sold nor lost", function()
  local dropped, events = world(), with_outbox()
  test.replace(stock, "sell", function() return ended "returned" end)
  confirm()
  test.equal({ #events, #dropped }, { 0, 0 })
end)

test.case("a released hold is told: its order is cancelled, or has to be", function()
  local dropped, events = world(), with_outbox()
  test.replace(stock, "sell", function() return ended "released" end)
  confirm()
  test.replace(stock, "sell", function() return ended "expired" end)
  test.replace(stock, "reserve", function() return ended "released" end)
  confirm()
  local lost = { key = "inventory.hold_lost", body = { order_id = "o1" } }
  test.equal({ events, #dropped }, { { lost, lost }, 0 })
end)

test.case("a sale that fails for another reason is delivered again", function()
  world()
  test.replace(stock, "sell", function() return nil, fault.new("unavailable", "away") end)
  test.fails(confirm, "unavailable")
  test.replace(stock, "sell", function() return ended "expired" end)
  test.replace(stock, "reserve", hold_for) -- and it expires again at once
  test.fails(confirm, "refused")
end)

test.case("a cancelled order gives back what it has, whatever that is", function()
  local dropped, asked = world(), nil
  test.replace(stock, "cancel", function(order_id)
    asked = order_id
    return { cancelled = true }
  end)
  consumer "order.cancelled" {
    body = { order_id = "o1", previous_status = "processing" },
  }
  test.equal({ asked, dropped[1] }, { "o1", "item:SKU-0001" })
  test.fails(function() consumer "order.cancelled" { body = {} } end, "bad_input")
end)

-- Jobs --------------------------------------------------------------------------------

local flow = require "flow"

local function rows_of(first, last)
  local rows = {}
  for i = first, last do
    table.insert(rows, { order_id = "o" .. i })
  end
  return rows
end

test.case("overdue holds end batch by batch, and are counted", function()
  local dropped, asked = world(), {}
  local count = test.value "inventory_holds_expired_total"
  local left, most, now = 250, 0, 0
  test.replace(store, "overdue", function(limit)
    return rows_of(1, math.min(left, limit))
  end)
  test.replace(store, "skus_of", function(orders)
    table.insert(asked, #orders)
    return { { sku = "SKU-0001" } }
  end)
  test.replace(stock, "expire", function()
    now = now + 1
    most = math.max(most, now)
    task.sleep(0)
    now, left = now - 1, left - 1
    return { expired = true }
  end)
  flow.expire_overdue()
  test.equal(left, 0)
  test.equal(most, 64) -- side by side
  test.equal(asked, { 64, 64, 64, 8, 50 })
  test.equal(test.value "inventory_holds_expired_total", count + 250)
  test.equal(dropped[1], "item:SKU-0001")
end)

test.case("holds that do not end now are left for the next time", function()
  local dropped, rounds = world(), 0
  test.replace(store, "overdue", function(limit)
    rounds = rounds + 1
    return rows_of(1, limit)
  end)
  test.replace(stock, "expire", function() return { expired = false } end)
  flow.expire_overdue()
  test.equal({ rounds, #dropped }, { 1, 0 })
end)

test.case("what ended is counted even when others fail", function()
  local dropped = world()
  local count = test.value "inventory_holds_expired_total"
  test.replace(store, "overdue", function() return rows_of(1, 3) end)
  test.replace(stock, "expire", function(order_id)
    if order_id == "o2" then
      fault.raise("unavailable", "the database is away")
    end
    return { expired = true }
  end)
  test.fails(flow.expire_overdue, "unavailable")
  test.equal(test.value "inventory_holds_expired_total", count + 2)
  test.equal(#dropped, 1)
end)

test.case("products that run low are told, and the relay is woken", function()
  local events, woken, forgot = with_outbox(), 0, false
  local relay = { wake = function() woken = woken + 1 end }
  test.replace(store, "forget_low", function() forgot = true end)
  test.replace(store, "take_low", function()
    return { { sku = "SKU-0017", name = "Brass sundial", available = 5, threshold = 10 } }
  end)
  flow.tell_low(relay)
  test.equal(events, { { key = "inventory.low_stock", body = {
    sku = "SKU-0017", name = "Brass sundial", available = 5, threshold = 10,
  } } })
  test.replace(store, "take_low", function() return {} end)
  flow.tell_low(relay)
  test.equal({ woken, forgot, #events }, { 1, true, 1 })
end)

return test.suite()
