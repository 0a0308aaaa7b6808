-- Orders: what each failing step leaves behind, and what a repeated key gets.
local fault = require "fault"
local test = require "test"
local orders = test.service "oms/orders"

local cache = require "cache"
local db = require "db"
local http = require "http"
local json = require "json"
local jwt = require "jwt"
local moves = require "moves"
local outbox = require "outbox"
local peers = require "peers"
local recovery = require "recovery"
local store = require "store"
local task = require "task"
local undo = require "undo"

local me = "00000000-0000-4000-8000-000000000001"
local demo = { sub = me, role = "customer" }
local stranger = { sub = "00000000-0000-4000-8000-000000000007", role = "customer" }
local operator = { sub = "00000000-0000-4000-8000-000000000003", role = "operator" }
local service = { sub = "00000000-0000-4000-8000-00000000000a", role = "service" }
local id = "00000000-0000-4000-8000-0000000000b1"
local payment_id = "00000000-0000-4000-8000-0000000000c1"
local reservation_id = "00000000-0000-4000-8000-0000000000d1"
local hour = "2026-11-20T11:00:00Z"

local function job(name)
  for _, entry in ipairs(orders.jobs) do
    if entry.name == name then
      return entry
    end
  end
end

local function update(row, changes)
  for name, value in pairs(changes) do
    row[name] = value
  end
  row.version = row.version + 1
  return row
end

-- The store, with one order in it, which holds to the states that its SQL names.
local function replace_store(kept, note)
  local function at(status)
    return kept.order and kept.order.status == status
  end
  test.replace(store, "by_key", function() return kept.order end)
  test.replace(store, "find", function() return kept.order end)
  test.replace(store, "lock", function() return kept.order end)
  test.replace(store, "add", function(order)
    note "insert"
    kept.order = update(order, {
      status = "pending", version = 0, created_at = hour, updated_at = hour,
    })
    return kept.order
  end)
  test.replace(store, "cancel", function(_, _, how)
    if not at(how.from) then
      return nil
    end
    local paid = how.payment_id or kept.order.payment_id
    local why = how.failure and " " .. how.failure.kind or ""
    note("cancel " .. how.reason .. why .. (paid and " owing" or ""))
    return update(kept.order, {
      status = "cancelled", failure = how.failure, cancel_reason = how.reason,
      payment_id = paid, compensation = paid and "refund_pending", cancelled_at = hour,
    })
  end)
  test.replace(store, "confirm", function(_, _, _, payment)
    if not at "pending" then
      return nil
    end
    note "confirm"
    return update(kept.order, { status = "processing", payment_id = payment })
  end)
  test.replace(store, "owe", function(_, payment)
    if at "cancelled" and not kept.order.payment_id then
      note "owe"
      return update(kept.order, { payment_id = payment, compensation = "refund_pending" })
    end
  end)
  test.replace(store, "refunded", function()
    if kept.order.compensation then
      note "clear"
      kept.order.compensation = nil
      return update(kept.order, {})
    end
  end)
  test.replace(store, "change", function(_, _, status, text)
    note("change " .. status)
    return update(kept.order, { status = status, note = text or kept.order.note })
  end)
  test.replace(store, "take_unfinished", function()
    local order = kept.order
    return order and (order.status == "pending" or order.compensation) and { order } or {}
  end)
end

local function replace_peers(note)
  test.replace(peers, "user", function()
    return { id = me, email = "demo@orrery.test" }
  end)
  test.replace(peers, "item", function(sku)
    if sku:find("^SKU") then
      return { sku = sku, unit_price = 250, currency = "USD" }
    end
    return nil, fault.new("missing", "no product has the SKU " .. sku)
  end)
  test.replace(peers, "reserve", function()
    note "reserve"
    return { reservation_id = reservation_id }
  end)
  test.replace(peers, "release", function()
    note "release"
    return { released = true }
  end)
  test.replace(peers, "pay", function(order)
    note("pay " .. order.total)
    return { id = payment_id }
  end)
  test.replace(peers, "void", function()
    note "void"
    return { status = "none" }
  end)
  test.replace(peers, "refund", function(order)
    note "refund"
    return { status = "done", amount = order.total }
  end)
end

-- A world in which everything works; each case breaks one thing. `did` lists what
-- happened, `kept.order` is what the store has.
local function world(order)
  local did, kept = {}, { order = order }
  local function note(what) table.insert(did, what) end
  test.replace(job "outbox", "wake", function() note "wake" end)
  test.replace(cache, "drop", function() end)
  test.replace(cache, "get", function() end)
  test.replace(cache, "put", function() end)
  replace_store(kept, note)
  replace_peers(note)
  test.replace(db, "tx", function(fn) return fn {} end)
  test.replace(outbox, "add", function(_, key, event)
    note("event " .. key .. " " .. event.status
      .. (event.previous_status and " was " .. event.previous_status or ""))
  end)
  return did, kept
end

-- An order as the store has it.
local function row(changes)
  local order = {
    id = id, customer_id = me, email = "demo@orrery.test", status = "processing",
    version = 2, total = 750, currency = "USD", method = "card", payment_id = payment_id,
    items = json.array { { sku = "SKU-0001", quantity = 3, unit_price = 250 } },
    created_at = hour, updated_at = hour,
  }
  for name, value in pairs(changes or {}) do
    order[name] = value ~= db.null and value or nil
  end
  return order
end

local function pending()
  return row { status = "pending", version = 1, payment_id = db.null }
end

local function owing()
  return row {
    status = "cancelled", compensation = "refund_pending", cancelled_at = hour,
  }
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
local gone = ", event order.cancelled cancelled was pending"

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
    { 750, "processing", payment_id })
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
    ["payment.paypal"] = { payment = { method = "paypal" } },
    ["payment.bank_transfer"] = {
      payment = {
        method = "card", card = body().payment.card,
        bank_transfer = { iban = "DE02120300000000202051" },
      },
    },
    ["billing.country"] = { billing = { country = "de" } },
    ["note"] = { note = ("x"):rep(501) },
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

test.case("country, note and instrument go to who needs them, and come back", function()
  world()
  local sent
  test.replace(peers, "pay", function(order, payment)
    sent = { order.customer_id, order.country, payment.method, payment.paypal.email }
    return { id = payment_id }
  end)
  local answer = place {
    payment = { method = "paypal", paypal = { email = "buyer@orrery.test" } },
    billing = { country = "DE" }, note = "ring twice",
  }
  test.equal(sent, { me, "DE", "paypal", "buyer@orrery.test" })
  test.equal({ answer.body.billing, answer.body.note, answer.body.payment_method },
    { { country = "DE" }, "ring twice", "paypal" })
  test.equal({ answer.body.version, answer.headers.ETag }, { 2, '"2"' })
end)

-- The real peers on a network of our own; gives what was sent, by upstream and path.
local function network(answer)
  local sent = {}
  test.replace(jwt, "service", function() return "Bearer ours" end)
  test.replace(http, "call", function(upstream, method, path, options)
    sent[method .. " " .. upstream .. path] = options
    return answer or { ok = true, status = 200, body = {} }
  end)
  return sent
end

test.case("users is asked as the caller, the others as the service", function()
  local sent = network()
  local order = row { country = "DE" }
  peers.user "Bearer theirs"
  for _, name in ipairs { "reserve", "release", "void", "refund", "payment" } do
    peers[name](order)
  end
  peers.item "a/b c"
  peers.pay(order, { method = "paypal", paypal = { email = "buyer@orrery.test" } })
  local tokens = {}
  for where, options in pairs(sent) do
    tokens[where] = options.headers.Authorization:match("%a+$")
    test.equal(options.timeout_s <= 4, true, where)
  end
  local of_order = "payments/api/v1/payments/order/" .. id
  local of_payment = "payments/api/v1/payments/" .. payment_id
  test.equal(tokens, {
    ["GET users/api/v1/users/me"] = "theirs",
    ["GET inventory/api/v1/inventory/a%2Fb%20c"] = "ours",
    ["POST inventory/api/v1/inventory/reserve"] = "ours",
    ["POST inventory/api/v1/inventory/release"] = "ours",
    ["POST payments/api/v1/payments"] = "ours",
    ["POST " .. of_order .. "/void"] = "ours",
    ["POST " .. of_payment .. "/refund"] = "ours",
    ["GET " .. of_payment] = "ours",
  })
  local paid = sent["POST payments/api/v1/payments"]
  test.equal(paid.body, {
    order_id = id, customer_id = me, amount = 750, currency = "USD", country = "DE",
    method = "paypal", paypal = { email = "buyer@orrery.test" },
  })
  test.equal({ paid.headers["Idempotency-Key"], paid.repeatable }, { id })
  test.equal(sent["POST " .. of_payment .. "/refund"].headers["Idempotency-Key"],
    id .. ":refund")
end)

test.case("a SKU that is the name of another route is no product", function()
  network { ok = true, status = 200, body = { items = {} } } -- as of .../inventory/alerts
  test.fails(function() return peers.item "alerts" end, "missing")
  network { ok = true, status = 200, body = { sku = "ALERTS" } }
  test.fails(function() return peers.item "alerts" end, "missing")
  network { ok = true, status = 200, body = { sku = "alerts" } }
  test.equal(peers.item "alerts", { sku = "alerts" })
end)

test.case("a token of ours that is not taken is not the caller's fault", function()
  network { ok = false, status = 401, body = {} }
  local why = test.fails(function() return peers.reserve(row()) end, "unavailable")
  test.equal(why.status, nil)
  test.fails(function() return peers.user "Bearer theirs" end, "denied")
end)

test.case("what payments rejects is named as the caller knows it", function()
  network {
    ok = false, status = 422, body = {
      kind = "bad_input", detail = "x", errors = {
        { field = "card.number", message = "is not a card number" },
        { field = "country", message = "is not served" },
      },
    },
  }
  local _, why = peers.pay(row(), { method = "card", card = {} })
  test.equal({ why.errors[1].field, why.errors[2].field },
    { "payment.card.number", "billing.country" })
end)

test.case("without time left nobody is asked, and nothing has happened", function()
  local sent = network()
  test.replace(task, "deadline", function() return 0.4 end)
  local why = test.fails(function() return peers.pay(row(), { method = "card" }) end,
    "unavailable")
  test.equal({ why.status, next(sent) }, {})
end)

test.case("without stock the order is cancelled and nobody is charged", function()
  local did = world()
  test.replace(peers, "reserve", function()
    return nil, fault.new("refused", "not enough SKU-0001", { sku = "SKU-0001" })
  end)
  local answer = place()
  test.equal({ answer.status, answer.body.kind, answer.body.sku },
    { 409, "refused", "SKU-0001" })
  test.equal(story(did), "insert, cancel stock refused" .. gone .. ", wake")
end)

test.case("a cancelled order is logged and counted by its reason, not as made", function()
  world()
  test.replace(peers, "reserve", function()
    return nil, fault.new("refused", "none left")
  end)
  local count = test.value "orders_created_total"
  local lost = test.value("orders_cancelled_total", { "stock" })
  place()
  test.equal(test.value "orders_created_total", count)
  test.equal(test.value("orders_cancelled_total", { "stock" }), lost + 1)
  local record = test.logs()[1]
  test.equal({ record.severity, record.message }, { "warn", "order cancelled" })
  test.equal({ record.attributes.kind, record.attributes.error },
    { "refused", "none left" })
end)

test.case("a reservation that may exist: cancelled, then released", function()
  local did = world()
  test.replace(peers, "reserve", function() return nil, fault.new("uncertain", "?") end)
  local answer = place()
  test.equal({ answer.status, answer.body.kind }, { 503, "unavailable" })
  test.equal(story(did),
    "insert, cancel inventory unavailable" .. gone .. ", release, wake")
end)

test.case("a declined card gives the stock back", function()
  local did = world()
  test.replace(peers, "pay", function()
    return nil, declined()
  end)
  local answer = place()
  test.equal({ answer.status, answer.body.kind, answer.body.decline_code },
    { 402, "refused", "x" })
  test.equal(story(did),
    "insert, reserve, cancel payment refused" .. gone .. ", release, wake")
end)

test.case("a refusal that is no decline tells nothing about the money", function()
  local did, kept = world()
  for _, why in ipairs {
    fault.new("refused", "in progress", { status = 409 }),
    fault.new("unavailable", "its database went away", { status = 503 }),
    fault.new("limit", "full", { status = 503 }),
    fault.new("broken", "nonsense"), fault.new("timeout", "late", { status = 504 }),
  } do
    test.replace(peers, "pay", function() return nil, why end)
    kept.order = nil
    test.equal(place().body.kind, "uncertain", why.detail)
    test.equal(kept.order.status, "pending")
  end
  test.equal(story(did), ("insert, reserve, wake, "):rep(5):sub(1, -3))
end)

test.case("payments that surely charged nothing give the stock back", function()
  local did = world()
  test.replace(peers, "pay", function()
    return nil, fault.new("unavailable", "no database", { status = 503, charged = false })
  end)
  local answer = place()
  test.equal({ answer.status, answer.body.charged }, { 503, false })
  test.equal(story(did),
    "insert, reserve, cancel payment unavailable" .. gone .. ", release, wake")
end)

test.case("an order that may have been written is told by its id", function()
  world()
  test.replace(store, "add", function() fault.raise("uncertain", "no answer") end)
  local answer = place()
  test.equal({ answer.status, answer.body.kind }, { 503, "uncertain" })
  test.match(answer.body.order_id, "^%x+%-")
end)

test.case("an order that was surely not written is not told of", function()
  world()
  test.replace(store, "add", function() fault.raise("unavailable", "down") end)
  local answer = place()
  test.equal({ answer.status, answer.body.kind, answer.body.order_id },
    { 503, "unavailable" })
end)

test.case("paid, but not confirmed, is not the same as nothing happened", function()
  local did = world()
  test.replace(db, "tx", function() fault.raise("unavailable", "database down") end)
  local answer = place()
  test.equal({ answer.status, answer.body.kind }, { 503, "uncertain" })
  test.match(answer.body.order_id, "^%x+%-")
  test.equal(story(did), "insert, reserve, pay 750, wake")
end)

test.case("a failure that cannot be written is not told as one", function()
  local did, kept = world()
  test.replace(peers, "pay", function() return nil, declined() end)
  test.replace(db, "tx", function() fault.raise("unavailable", "database down") end)
  local answer = place()
  test.equal({ answer.status, answer.body.kind }, { 503, "uncertain" })
  test.equal({ answer.body.order_id, kept.order.status }, { kept.order.id, "pending" })
  test.equal(story(did), "insert, reserve, wake") -- no stock is freed of a pending order
end)

test.case("a release that fails changes no answer", function()
  world()
  test.replace(peers, "pay", function() return nil, declined() end)
  test.replace(peers, "release", function() return nil, fault.new("timeout", "late") end)
  test.equal(place().status, 402)
end)

test.case("a payment nobody knows about leaves order and hold as they are", function()
  local did = world()
  test.replace(peers, "pay", function() return nil, fault.new("uncertain", "?") end)
  local answer = place()
  test.equal({ answer.status, answer.body.kind }, { 503, "uncertain" })
  test.match(answer.body.order_id, "^%x+%-")
  test.equal(story(did), "insert, reserve, wake")
end)

test.case("the same key again gives the same order, without a second one", function()
  local did = world()
  local first = place()
  local again = place()
  test.equal({ again.status, again.body.id }, { 201, first.body.id })
  test.equal(story(did), happy .. ", wake")
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
  test.equal(#did, steps + 1) -- but for waking the relay
end)

test.case("the key of an order that is cancelled after its 201 says 201", function()
  world()
  local first = place()
  test.equal(test.call(orders, "DELETE /api/v1/orders/" .. first.body.id,
    { user = demo }).status, 200)
  local again = place()
  test.equal({ again.status, again.body.id, again.body.status },
    { 201, first.body.id, "cancelled" })
end)

test.case("the same key while the order is pending is refused", function()
  world()
  test.replace(peers, "pay", function() return nil, fault.new("uncertain", "?") end)
  place()
  local again = place()
  test.equal({ again.status, again.body.kind, again.headers["Retry-After"] },
    { 409, "refused", "1" })
end)

test.case("the same key for anything else is refused", function()
  world()
  place()
  for name, changes in pairs {
    items = { items = { { sku = "SKU-0001", quantity = 3 } } },
    country = { billing = { country = "DE" } },
    note = { note = "in a hurry" },
    card = {
      payment = {
        method = "card",
        card = {
          number = "4000000000000002", exp_month = 12, exp_year = 2099, cvc = "123",
        },
      },
    },
    method = { payment = { method = "paypal", paypal = { email = "demo@orrery.test" } } },
  } do
    local again = place(changes)
    test.equal({ again.status, again.body.errors[1].field },
      { 422, "Idempotency-Key" }, name)
  end
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
  test.equal(story(did), happy .. ", wake")
end)

-- Runs fn in the middle of a step of the request: others overtake it there.
local function meanwhile(step, fn)
  local real = peers[step]
  test.replace(peers, step, function(...)
    local done, why = real(...)
    fn()
    return done, why
  end)
end

local function paid_says_void()
  test.replace(peers, "void", function()
    return { status = "captured", payment_id = payment_id, amount = 750, refunded = 0 }
  end)
end

test.case("a request that recovery overtook with its payment is a success", function()
  local did = world()
  paid_says_void()
  meanwhile("pay", recovery.run)
  local count = test.value "orders_created_total"
  local answer = place()
  test.equal({ answer.status, answer.body.status }, { 201, "processing" })
  test.equal(test.value "orders_created_total", count + 1)
  test.equal(story(did), "insert, reserve, pay 750, reserve, confirm, "
    .. "event order.created processing, event order.confirmed processing, wake")
end)

test.case("a request that recovery cancelled before it paid fails, and owes", function()
  local did, kept = world()
  meanwhile("pay", recovery.run) -- payments broke its promise: the void said none
  local answer = place()
  test.equal({ answer.status, answer.body.kind }, { 409, "refused" })
  test.equal({ kept.order.compensation, kept.order.payment_id },
    { "refund_pending", payment_id })
  test.match(story(did), "cancel recovery refused.*owe")
end)

test.case("a request that was cancelled while it reserved tells of that", function()
  local did = world()
  meanwhile("reserve", recovery.run)
  test.replace(peers, "pay", function()
    return nil, fault.new("refused", "this order takes no payment", { charged = false })
  end)
  local answer = place()
  test.match(answer.body.detail, "could not be finished")
  test.equal(story(did),
    "insert, reserve, void, cancel recovery refused" .. gone .. ", wake")
end)

test.case("recovery confirms what is paid, and counts it as made", function()
  local did = world(pending())
  paid_says_void()
  local made = test.value "orders_created_total"
  local outcome = test.value("orders_recovered_total", { "confirmed" })
  recovery.run()
  test.equal(story(did), "reserve, confirm, event order.created processing, "
    .. "event order.confirmed processing")
  test.equal(test.value "orders_created_total", made + 1)
  test.equal(test.value("orders_recovered_total", { "confirmed" }), outcome + 1)
end)

test.case("recovery cancels what is not paid, and the key tells it", function()
  local did, kept = world(pending())
  local outcome = test.value("orders_recovered_total", { "cancelled" })
  recovery.run()
  test.equal(story(did), "void, cancel recovery refused" .. gone)
  test.equal(test.value("orders_recovered_total", { "cancelled" }), outcome + 1)
  test.equal({ kept.order.failure.charged, kept.order.compensation }, { false })
end)

test.case("recovery gives the money back when the stock is gone", function()
  local did, kept = world(pending())
  paid_says_void()
  test.replace(peers, "reserve", function() return nil, fault.new("refused", "none") end)
  recovery.run()
  test.equal(story(did), "cancel stock refused owing" .. gone)
  recovery.run()
  test.equal({ did[#did - 1], did[#did], kept.order.compensation }, { "refund", "clear" })
end)

test.case("recovery confirms no order that is not paid as a whole", function()
  for _, money in ipairs { { 750, 100 }, { 749, 0 }, { 751, 0 } } do
    local did = world(pending())
    test.replace(peers, "void", function()
      return {
        status = "captured", payment_id = payment_id, amount = money[1],
        refunded = money[2],
      }
    end)
    recovery.run()
    test.equal(story(did), "cancel payment refused owing" .. gone)
  end
end)

test.case("recovery leaves an order alone while nobody can tell", function()
  for _, answer in ipairs {
    { { status = "open" } }, { nil, fault.new("unavailable", "away") },
    { nil, fault.new("uncertain", "?") }, { { status = "something new" } },
  } do
    local did, kept = world(pending())
    test.replace(peers, "void", function() return answer[1], answer[2] end)
    recovery.run()
    test.equal({ story(did), kept.order.status }, { "", "pending" })
  end
end)

test.case("recovery leaves a paid order alone while inventory is away", function()
  for _, kind in ipairs { "unavailable", "timeout", "uncertain", "broken", "limit" } do
    local did, kept = world(pending())
    paid_says_void()
    test.replace(peers, "reserve", function() return nil, fault.new(kind, "?") end)
    recovery.run()
    test.equal({ story(did), kept.order.status }, { "", "pending" }, kind)
  end
end)

test.case("a database that goes away in the middle ends no recovery", function()
  local _, kept = world(pending())
  test.replace(db, "tx", function() fault.raise("unavailable", "down") end)
  recovery.run()
  test.equal(kept.order.status, "pending")
  test.equal(test.logs()[1].message, "orders wait for recovery")
end)

test.case("a refund is asked for until payments has taken it", function()
  local did, kept = world(owing())
  local real = peers.refund
  test.replace(peers, "refund", function() return nil, fault.new("timeout", "late") end)
  recovery.run()
  test.equal(kept.order.compensation, "refund_pending")
  test.replace(peers, "refund", real)
  recovery.run()
  test.equal({ story(did), kept.order.compensation }, { "refund, clear" })
end)

test.case("a refund that payments has taken on is not made yet", function()
  local _, kept = world(row())
  local state = "pending"
  test.replace(peers, "refund", function() return { status = state, amount = 750 } end)
  local answer = test.call(orders, "DELETE /api/v1/orders/" .. id, { user = demo })
  test.equal({ answer.status, answer.body.refund }, { 200, "pending" })
  state = "uncertain"
  recovery.run()
  test.equal(kept.order.compensation, "refund_pending")
  state = "done"
  recovery.run()
  test.equal(kept.order.compensation, nil)
end)

test.case("a refund that is refused counts only when the money is back", function()
  local _, kept = world(owing())
  local state = "captured"
  test.replace(peers, "refund", function()
    return nil, fault.new("refused", "in progress")
  end)
  test.replace(peers, "payment", function() return { status = state } end)
  recovery.run()
  test.equal(kept.order.compensation, "refund_pending")
  state = "refunded"
  recovery.run()
  test.equal(kept.order.compensation, nil)
end)

test.case("a refund of the rest counts once the other parts are back too", function()
  local _, kept = world(owing())
  local payment = { status = "captured" }
  test.replace(peers, "refund", function() return { status = "done", amount = 650 } end)
  test.replace(peers, "payment", function()
    return payment, not payment and fault.new("unavailable", "away") or nil
  end)
  recovery.run()
  test.equal(kept.order.compensation, "refund_pending")
  payment = nil
  recovery.run()
  test.equal(kept.order.compensation, "refund_pending")
  payment = { status = "refunded" }
  recovery.run()
  test.equal(kept.order.compensation, nil)
end)

test.case("many left orders are all taken up, also when some fail", function()
  world()
  local rounds, left, voided = 0, 100, 0
  test.replace(store, "take_unfinished", function(_, _, limit)
    rounds = rounds + 1
    local taken = {}
    for i = 1, math.min(limit, left) do
      taken[i] = pending()
    end
    left = left - #taken
    return taken
  end)
  test.replace(peers, "void", function()
    voided = voided + 1
    return voided % 2 == 0 and { status = "open" } or { status = "none" }
  end)
  recovery.run()
  test.equal({ left, voided, rounds }, { 0, 100, 3 })
end)

test.case("recovery ends its look when payments is away", function()
  world()
  local rounds = 0
  test.replace(store, "take_unfinished", function(_, _, limit)
    rounds = rounds + 1
    local taken = {}
    for i = 1, limit do
      taken[i] = pending()
    end
    return taken
  end)
  test.replace(peers, "void", function() return nil, fault.new("unavailable", "away") end)
  recovery.run()
  test.equal(rounds, 1)
end)

local function delete(user)
  return test.call(orders, "DELETE /api/v1/orders/" .. id, { user = user or demo })
end

test.case("a customer cancels: written first, then stock and money go back", function()
  local did = world(row())
  local count = test.value("orders_cancelled_total", { "customer" })
  local answer = delete()
  test.equal({ answer.status, answer.body.status, answer.body.refund },
    { 200, "cancelled", "done" })
  test.equal(story(did), "cancel customer owing, "
    .. "event order.cancelled cancelled was processing, release, refund, clear, wake")
  test.equal(test.value("orders_cancelled_total", { "customer" }), count + 1)
end)

test.case("money that cannot be given back at once is owed", function()
  local _, kept = world(row())
  test.replace(peers, "refund", function()
    return nil, fault.new("unavailable", "away")
  end)
  local answer = delete(operator)
  test.equal({ answer.status, answer.body.refund, answer.body.cancel_reason },
    { 200, "pending", "staff" })
  test.equal(kept.order.compensation, "refund_pending")
end)

test.case("cancelling twice is as cancelling once", function()
  local did = world(row())
  local first, steps = delete(), #did
  test.equal(delete().body, first.body)
  test.equal(#did, steps + 1) -- but for waking the relay
end)

test.case("what cannot be cancelled stays as it is", function()
  local did = world(pending())
  local answer = delete()
  test.equal({ answer.status, answer.headers["Retry-After"] }, { 409, "1" })
  for _, status in ipairs { "shipped", "delivered" } do
    did = world(row { status = status })
    test.equal(delete().status, 409, status)
  end
  test.equal(story(did), "")
end)

test.case("who may see, change and cancel an order", function()
  for _, user in ipairs { demo, operator, { sub = "x", role = "admin" } } do
    world(row())
    test.equal(delete(user).status, 200)
  end
  world(row())
  test.equal({ delete(stranger).status, delete(service).status }, { 404, 403 })
  local function get(user)
    return test.call(orders, "GET /api/v1/orders/" .. id, { user = user }).status
  end
  test.equal({ get(demo), get(operator), get(service), get(stranger), get() },
    { 200, 200, 200, 404, 401 })
  test.equal(test.call(orders, "POST /api/v1/orders", { user = service }).status, 403)
end)

local function put(change, user, headers)
  return test.call(orders, "PUT /api/v1/orders/" .. id, {
    user = user or operator, body = change, headers = headers,
  })
end

test.case("staff sends an order on, and its event tells", function()
  local did = world(row())
  local answer = put { status = "shipped", version = 2 }
  local shown = answer.body
  test.equal({ answer.status, shown.status, shown.version, answer.headers.ETag },
    { 200, "shipped", 3, '"3"' })
  answer = put({ status = "delivered" }, operator, { ["If-Match"] = '"3"' })
  test.equal(answer.status, 200)
  test.equal(story(did), "change shipped, event order.shipped shipped, wake, "
    .. "change delivered, event order.delivered delivered, wake")
end)

test.case("every other move is refused", function()
  local allowed = { processing = "shipped", shipped = "delivered" }
  local statuses = { "pending", "processing", "shipped", "delivered", "cancelled" }
  for _, from in ipairs(statuses) do
    for _, to in ipairs(statuses) do
      world(row { status = from })
      test.equal(put({ status = to, version = 2 }).status,
        allowed[from] == to and 200 or 409, from .. " to " .. to)
    end
  end
end)

test.case("a lost update is told: 409 by version, 412 by If-Match", function()
  local did = world(row())
  test.equal(put({ status = "shipped", version = 1 }).status, 409)
  test.equal(put({ status = "shipped" }, operator, { ["If-Match"] = '"1"' }).status, 412)
  local answer = put { status = "shipped" }
  test.equal({ answer.status, answer.body.errors[1].field }, { 422, "version" })
  test.equal(story(did), "")
end)

test.case("a customer writes the note of an own order, and nothing else", function()
  local did, kept = world(row())
  test.equal(put({ note = "ring twice", version = 2 }, demo).body.note, "ring twice")
  test.equal(put({ status = "shipped", version = 3 }, demo).status, 403)
  test.equal(put({ note = "mine", version = 3 }, stranger).status, 404)
  test.equal(put({ version = 3 }, demo).body.errors[1].field, "status")
  test.equal({ kept.order.status, story(did) },
    { "processing", "change processing, wake" })
end)

test.case("who has the version already gets none of it again", function()
  world(row())
  local function get(tag)
    return test.call(orders, "GET /api/v1/orders/" .. id, {
      user = demo, headers = { ["If-None-Match"] = tag },
    })
  end
  local answer = get '"2"'
  test.equal({ answer.status, answer.body, answer.headers.ETag }, { 304, nil, '"2"' })
  test.equal(get('"1"').status, 200)
end)

test.case("lost stock cancels and owes, whatever it meets it loses nothing", function()
  local did, kept = world(row())
  undo.hold_lost({}, { order_id = id })
  test.equal(story(did),
    "cancel hold_lost owing, event order.cancelled cancelled was processing")
  undo.hold_lost({}, { order_id = id })
  test.equal(#did, 2)
  recovery.run()
  test.equal(kept.order.compensation, nil)
  did = world(row { status = "shipped" })
  undo.hold_lost({}, { order_id = id })
  local last = test.logs()[#test.logs()]
  test.equal({ story(did), last.severity }, { "", "error" })
end)

test.case("every change makes readers forget the old state", function()
  local _, kept = world(row())
  local forgotten = 0
  test.replace(moves, "forget", function() forgotten = forgotten + 1 end)
  put { status = "shipped", version = 2 }
  test.equal(forgotten, 1)
  kept.order = row()
  delete() -- cancelled, and then refunded
  test.equal(forgotten, 3)
end)

-- The wish that a list makes of its query.
local function wish_of(user, query)
  world()
  local wish
  test.replace(store, "list", function(asked)
    wish = asked
    return { row() }
  end)
  local answer = test.call(orders, "GET /api/v1/orders", { user = user, query = query })
  return wish, answer
end

test.case("a customer lists own orders, whatever is asked", function()
  local wish, answer = wish_of(demo, {})
  test.equal({ wish.customer_id, wish.limit, wish.by_email }, { me, 21, false })
  test.equal({ answer.status, answer.body.items[1].id }, { 200, id })
  local _, refused = wish_of(demo, { customer_id = operator.sub })
  test.equal(refused.status, 403)
end)

test.case("staff lists everybody's orders, or one customer's", function()
  test.equal(wish_of(operator, {}).customer_id, nil)
  test.equal(wish_of(service, {}).customer_id, nil)
  test.equal(wish_of(operator, { customer_id = me }).customer_id, me)
  test.equal(wish_of(operator, { q = "demo" }).by_email, true)
end)

test.case("a search is an id's beginning, a SKU, or part of an address", function()
  local wish = wish_of(demo, { q = "AB12" })
  test.equal({ wish.text, wish.first_id, wish.last_id }, {
    "ab12", "ab120000-0000-0000-0000-000000000000",
    "ab12ffff-ffff-ffff-ffff-ffffffffffff",
  })
  test.equal(wish_of(demo, { q = id }).first_id, id)
  test.equal(wish_of(demo, { q = id }).last_id, id)
  for _, text in ipairs { "SKU-0001", "ab-12", "%", ("a"):rep(40), id .. "0" } do
    test.equal(wish_of(demo, { q = text }).first_id, nil, text)
  end
end)

test.case("times of a search are points in time, wherever they were written", function()
  for text, seconds in pairs {
    ["1970-01-01T00:00:00Z"] = 0,
    ["2026-11-21T15:50:00Z"] = 1795276200,
    ["2026-11-21T16:50:00.250+01:00"] = 1795276200.25,
    ["2024-02-29T23:59:59-00:30"] = 1709252999,
    ["2000-03-01T00:00:00Z"] = 951868800,
    ["1969-12-31T23:59:59Z"] = -1,
  } do
    test.equal(wish_of(demo, { created_from = text }).from, seconds, text)
  end
  for _, text in ipairs {
    "2026-02-29T00:00:00Z", "1900-02-29T00:00:00Z", "2026-04-31T00:00:00Z", "yesterday",
  } do
    local wish, answer = wish_of(demo, { created_to = text })
    test.equal({ wish, answer.status, answer.body.errors[1].field },
      { nil, 422, "created_to" }, text)
  end
end)

test.case("a cursor of somebody else is refused", function()
  local _, answer = wish_of(demo, { cursor = "bm9uc2Vuc2U" })
  test.equal({ answer.status, answer.body.errors[1].field }, { 422, "cursor" })
end)

test.case("the gauges tell what the tables say", function()
  world()
  test.replace(store, "counts", function() return { { status = "shipped", n = 7 } } end)
  test.replace(store, "unfinished", function(after_s) return after_s end)
  job("orders_by_status").handler()
  test.equal({
    test.value("orders_by_status", { "shipped" }),
    test.value("orders_by_status", { "pending" }), test.value "orders_unfinished",
  }, { 7, 0, 20 })
end)

return test.suite()
