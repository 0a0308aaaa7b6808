-- Orders: what each failing step leaves behind, and what a repeated key gets.
local fault = require "fault"
local test = require "test"
local orders = test.service "oms/orders"

local cache = require "cache"
local db = require "db"
local outbox = require "outbox"
local peers = require "peers"
local store = require "store"

local demo = { sub = "00000000-0000-4000-8000-000000000001", role = "customer" }

-- A world in which everything works; each case breaks one thing. `did` lists what
-- happened.
local function world()
  local did, kept, job = {}, {}, orders.jobs[1]
  local function note(what) table.insert(did, what) end
  test.replace(job, "wake", function() note "wake" end)
  test.replace(cache, "drop", function() end)
  test.replace(cache, "get", function() end)
  test.replace(cache, "put", function() end)
  test.replace(peers, "user", function()
    return { id = demo.sub, email = "demo@orrery.test" }
  end)
  test.replace(peers, "item", function(sku)
    if sku:find("^SKU") then
      return { sku = sku, unit_price = 250, currency = "USD" }
    end
    return nil, fault.new("missing", "no product has the SKU " .. sku)
  end)
  test.replace(peers, "reserve", function()
    note "reserve"
    return { reservation_id = "r" }
  end)
  test.replace(peers, "release", function()
    note "release"
    return { released = true }
  end)
  test.replace(peers, "pay", function(order)
    note("pay " .. order.total)
    return { id = "p" }
  end)
  test.replace(store, "by_key", function() return kept.order end)
  test.replace(store, "add", function(order)
    note "insert"
    kept.order = order
    return { status = "pending", created_at = "t", updated_at = "t" }
  end)
  test.replace(store, "cancel", function(_, failure, compensation)
    note("cancel " .. failure.kind .. (compensation and " " .. compensation or ""))
    kept.order.status, kept.order.failure = "cancelled", failure
  end)
  test.replace(store, "confirm", function()
    note "confirm"
    return { status = "processing", payment_id = "p", updated_at = "t2" }
  end)
  test.replace(db, "tx", function(fn) return fn {} end)
  test.replace(outbox, "add", function(_, key, body)
    note("event " .. key .. " " .. body.status)
  end)
  return did, kept
end

local function body(changes)
  local value = {
    items = { { sku = "SKU-0001", quantity = 2 }, { sku = "SKU-0002", quantity = 1 } },
    currency = "USD",
    payment = {
      method = "card",
      card = {
        number = "4242424242424242", exp_month = 12, exp_year = 2099, cvc = "123",
      },
    },
  }
  for name, change in pairs(changes or {}) do
    value[name] = change
  end
  return value
end

local function place(changes, key)
  return test.call(orders, "POST /api/v1/orders", {
    user = demo, body = body(changes), headers = { ["Idempotency-Key"] = key or "k1" },
  })
end

local function declined()
  return fault.new("refused", "declined", {
    status = 402, decline_code = "x", charged = false,
  })
end

local happy = "insert, reserve, pay 750, confirm, event order.created processing, "
  .. "event order.confirmed processing, wake"

local function story(did)
  return table.concat(did, ", ")
end

test.case("an order goes through every step, in order", function()
  local did = world()
  local answer = place()
  test.equal(answer.status, 201)
  test.equal(story(did), happy)
  test.equal(answer.headers.Location, "/api/v1/orders/" .. answer.body.id)
  test.equal({ answer.body.total, answer.body.status, answer.body.payment_id },
    { 750, "processing", "p" })
  test.equal(answer.body.items[2], { sku = "SKU-0002", quantity = 1, unit_price = 250 })
end)

test.case("a confirmed order is counted, timed and logged once", function()
  world()
  local count, times = test.value "orders_created_total",
    test.value "order_processing_duration_seconds"
  local answer = place()
  test.equal(test.value "orders_created_total", count + 1)
  test.equal(test.value "order_processing_duration_seconds", times + 1)
  test.equal(#test.logs(), 1)
  local record = test.logs()[1]
  test.equal({ record.severity, record.message }, { "info", "order confirmed" })
  test.equal(record.attributes, { order_id = answer.body.id, total = 750 })
end)

test.case("an unknown SKU is named and nothing is stored", function()
  local did = world()
  local answer = place {
    items = { { sku = "SKU-0001", quantity = 1 }, { sku = "NOPE", quantity = 1 } },
  }
  test.equal({ answer.status, answer.body.kind }, { 422, "bad_input" })
  test.equal(answer.body.errors[1].field, "items[1].sku")
  test.equal(story(did), "")
end)

test.case("wrong input is named and nothing is stored", function()
  local did = world()
  for field, changes in pairs {
    ["items[0].quantity"] = { items = { { sku = "SKU-0001", quantity = -1 } } },
    ["items"] = { items = "many" },
    ["currency"] = { currency = "XXX" },
    ["payment.method"] = { payment = { method = "cash", card = body().payment.card } },
    ["payment.card"] = { payment = { method = "card" } },
  } do
    local answer = place(changes)
    test.equal(answer.status, 422, field)
    test.equal(answer.body.errors[1].field, field)
  end
  test.equal(story(did), "")
end)

test.case("a user who is gone is refused and nothing is stored", function()
  local did = world()
  test.replace(peers, "user", function() return nil, fault.new("denied", "gone") end)
  test.equal(place().status, 401)
  test.equal(story(did), "")
end)

test.case("while users is away nothing is stored", function()
  local did = world()
  test.replace(peers, "user", function() return nil, fault.new("unavailable", "away") end)
  test.equal(place().status, 503)
  test.equal(story(did), "")
end)

test.case("without stock the order is cancelled and nobody is charged", function()
  local did = world()
  test.replace(peers, "reserve", function()
    return nil, fault.new("refused", "not enough SKU-0001", { sku = "SKU-0001" })
  end)
  local answer = place()
  test.equal({ answer.status, answer.body.kind, answer.body.sku },
    { 409, "refused", "SKU-0001" })
  test.equal(story(did), "insert, cancel refused")
end)

test.case("a cancelled order is logged with its reason, and not counted", function()
  world()
  test.replace(peers, "reserve", function()
    return nil, fault.new("refused", "none left")
  end)
  local count = test.value "orders_created_total"
  place()
  test.equal(test.value "orders_created_total", count)
  local record = test.logs()[1]
  test.equal({ record.severity, record.message }, { "warn", "order cancelled" })
  test.equal({ record.attributes.kind, record.attributes.error },
    { "refused", "none left" })
end)

test.case("a reservation that may exist is released", function()
  local did = world()
  test.replace(peers, "reserve", function() return nil, fault.new("uncertain", "?") end)
  test.equal(place().status, 503)
  test.equal(story(did), "insert, release, cancel uncertain")
end)

test.case("a reservation that may come late is left to recovery", function()
  local did = world()
  test.replace(peers, "reserve", function() return nil, fault.new("uncertain", "?") end)
  test.replace(peers, "release", function() return { released = false } end)
  place()
  test.equal(story(did), "insert, cancel uncertain release_pending")
end)

test.case("a declined card gives the stock back", function()
  local did = world()
  test.replace(peers, "pay", function()
    return nil, declined()
  end)
  local answer = place()
  test.equal({ answer.status, answer.body.kind, answer.body.decline_code },
    { 402, "refused", "x" })
  test.equal(story(did), "insert, reserve, release, cancel refused")
end)

test.case("a refusal that is no decline tells nothing about the money", function()
  local did = world()
  for _, why in ipairs {
    fault.new("refused", "in progress", { status = 409 }),
    fault.new("unavailable", "its database went away", { status = 503 }),
    fault.new("limit", "full", { status = 503 }),
    fault.new("broken", "nonsense"), fault.new("timeout", "late", { status = 504 }),
  } do
    test.replace(peers, "pay", function() return nil, why end)
    test.replace(store, "by_key", function() end)
    test.equal(place().body.kind, "uncertain", why.detail)
  end
  test.equal(story(did), ("insert, reserve, "):rep(5):sub(1, -3))
end)

test.case("payments that surely charged nothing give the stock back", function()
  local did = world()
  test.replace(peers, "pay", function()
    return nil, fault.new("unavailable", "no database", { status = 503, charged = false })
  end)
  local answer = place()
  test.equal({ answer.status, answer.body.charged }, { 503, false })
  test.equal(story(did), "insert, reserve, release, cancel unavailable")
end)

test.case("paid, but not confirmed, is not the same as nothing happened", function()
  local did = world()
  test.replace(db, "tx", function() fault.raise("unavailable", "database down") end)
  local answer = place()
  test.equal({ answer.status, answer.body.kind }, { 503, "uncertain" })
  test.match(answer.body.order_id, "^%x+%-")
  test.equal(story(did), "insert, reserve, pay 750")
end)

test.case("a failure is told even when it cannot be written", function()
  local did = world()
  test.replace(peers, "pay", function() return nil, declined() end)
  test.replace(store, "cancel", function() fault.raise("unavailable", "down") end)
  test.equal(place().status, 402)
  test.equal(story(did), "insert, reserve, release")
end)

test.case("a release that fails is remembered", function()
  local did = world()
  test.replace(peers, "pay", function() return nil, fault.new("unavailable", "away") end)
  test.replace(peers, "release", function() return nil, fault.new("timeout", "late") end)
  test.equal(place().status, 503)
  test.equal(story(did), "insert, reserve, cancel unavailable release_pending")
end)

test.case("a payment nobody knows about leaves order and hold as they are", function()
  local did = world()
  test.replace(peers, "pay", function() return nil, fault.new("uncertain", "?") end)
  local answer = place()
  test.equal({ answer.status, answer.body.kind }, { 503, "uncertain" })
  test.match(answer.body.order_id, "^%x+%-")
  test.equal(story(did), "insert, reserve")
end)

test.case("the same key again gives the same order, without a second one", function()
  local did = world()
  local first = place()
  local again = place()
  test.equal({ again.status, again.body.id }, { 201, first.body.id })
  test.equal(story(did), happy)
end)

test.case("the same key again gives the same failure", function()
  local did = world()
  test.replace(peers, "pay", function()
    return nil, declined()
  end)
  local first, steps = place(), #did
  local again = place()
  test.equal({ again.status, again.body.decline_code, again.body.order_id },
    { 402, "x", first.body.order_id })
  test.equal(#did, steps)
end)

test.case("the same key while the order is pending is refused", function()
  world()
  test.replace(peers, "pay", function() return nil, fault.new("uncertain", "?") end)
  place()
  local again = place()
  test.equal({ again.status, again.body.kind }, { 409, "refused" })
end)

test.case("the same key for another order is refused", function()
  world()
  place()
  local again = place { items = { { sku = "SKU-0001", quantity = 3 } } }
  test.equal({ again.status, again.body.errors[1].field }, { 422, "Idempotency-Key" })
end)

test.case("losing the race for a key is a repeat", function()
  local did, kept = world()
  place()
  local winner = kept.order
  local looks = 0
  test.replace(store, "by_key", function()
    looks = looks + 1
    return looks > 1 and winner or nil
  end)
  test.replace(store, "add", function()
    return nil, fault.new("refused", "taken", { constraint = "orders_once" })
  end)
  test.equal(place().body.id, winner.id)
  test.equal(story(did), happy)
end)

test.case("an order is shown to its owner and to administrators only", function()
  world()
  local id = "00000000-0000-4000-8000-00000000000a"
  test.replace(store, "find", function()
    return { id = id, customer_id = demo.sub, status = "processing", items = {} }
  end)
  local function get(user)
    return test.call(orders, "GET /api/v1/orders/" .. id, { user = user }).status
  end
  test.equal(get(demo), 200)
  test.equal(get { sub = "somebody", role = "admin" }, 200)
  test.equal(get { sub = "somebody", role = "customer" }, 404)
end)

return test.suite()
