-- Payments: charged at most once, and honest about what is not known.
local fault = require "fault"
local test = require "test"
local payments = test.service "oms/payments"

local cache = require "cache"
local card = require "card"
local http = require "http"
local store = require "store"

local demo = { sub = "00000000-0000-4000-8000-000000000001", role = "customer" }

-- The table of payments with its two unique constraints, and an acquirer that counts.
local function world(answer, why)
  local rows, calls = {}, 0
  test.replace(cache, "get", function() end)
  test.replace(cache, "put", function() end)
  test.replace(http, "call", function()
    calls = calls + 1
    return answer, why
  end)
  test.replace(store, "by_key", function(_, key) return rows[key] end)
  test.replace(store, "add", function(row)
    if rows[row.idempotency_key] then
      return nil, fault.new("refused", "taken", { constraint = "payments_once" })
    end
    row.status = "pending"
    rows[row.idempotency_key] = row
    return row
  end)
  test.replace(store, "settle", function(id, status, code)
    for _, row in pairs(rows) do
      if row.id == id then
        row.status, row.code = status, code
        return row
      end
    end
  end)
  test.replace(store, "take_up", function(id)
    for _, row in pairs(rows) do
      if row.id == id and row.status == "uncertain" then
        row.status = "pending"
        return row
      end
    end
  end)
  return rows, function() return calls end
end

local function says(outcome, code)
  return { ok = true, status = 200, body = { id = "a", outcome = outcome, code = code } }
end

local function pay(changes, key)
  local value = {
    order_id = "o1", amount = 500, currency = "USD", method = "card",
    card = { number = "4242424242424242", exp_month = 12, exp_year = 2099, cvc = "123" },
  }
  for name, change in pairs(changes or {}) do
    value[name] = change
  end
  return test.call(payments, "POST /api/v1/payments", {
    user = demo, body = value, headers = { ["Idempotency-Key"] = key or "k1" },
  })
end

test.case("an approved card is captured, and its number kept nowhere", function()
  local rows = world(says "approved")
  local answer = pay()
  test.equal({ answer.status, answer.body.status, answer.body.card },
    { 201, "captured", { brand = "visa", last4 = "4242" } })
  for _, value in pairs(rows.k1) do
    test.equal(tostring(value):find("42424242", 1, true), nil)
  end
end)

test.case("a declined card is 402 with the code", function()
  world(says("declined", "insufficient_funds"))
  local answer = pay()
  test.equal({ answer.status, answer.body.kind, answer.body.decline_code },
    { 402, "refused", "insufficient_funds" })
end)

test.case("what was captured counts as money, what was declined does not", function()
  world(says "approved")
  local money = test.value("payment_amount_total", { "USD" }) or 0
  local captured = test.value("payments_processed_total", { "captured", "card" }) or 0
  pay()
  test.equal(test.value("payments_processed_total", { "captured", "card" }), captured + 1)
  test.equal(test.value("payment_amount_total", { "USD" }), money + 500)
  world(says("declined", "lost_card"))
  local declined = test.value("payments_processed_total", { "declined", "card" }) or 0
  pay(nil, "k2")
  test.equal(test.value("payments_processed_total", { "declined", "card" }), declined + 1)
  test.equal(test.value("payment_amount_total", { "USD" }), money + 500)
end)

test.case("no log has the card's number or its code", function()
  world(says "approved")
  pay()
  world(says("declined", "lost_card"))
  pay(nil, "k2")
  test.equal(#test.logs(), 2)
  for _, record in ipairs(test.logs()) do
    for _, value in pairs(record.attributes) do
      test.equal(tostring(value):find("4242", 1, true), nil)
      test.equal(value == "123", false)
    end
  end
end)

test.case("an error of the card network is 503, and nothing was charged", function()
  local rows = world {
    ok = false, status = 503, body = { outcome = "error", code = "processing_error" },
  }
  local answer = pay()
  test.equal({ answer.status, answer.body.kind }, { 503, "unavailable" })
  test.equal(rows.k1.status, "failed")
end)

test.case("an acquirer that cannot be reached charged nothing", function()
  local rows = world(nil, fault.new("unavailable", "refused the connection"))
  test.equal(pay().body.kind, "unavailable")
  test.equal(rows.k1.status, "failed")
end)

test.case("no answer, or nonsense, is uncertain", function()
  local rows = world(nil, fault.new("uncertain", "no answer"))
  test.equal({ pay().body.kind, rows.k1.status }, { "uncertain", "uncertain" })
  rows = world { ok = false, status = 500, body = "<html>" }
  test.equal({ pay().body.kind, rows.k1.status }, { "uncertain", "uncertain" })
  rows = world { ok = true, status = 200 }
  test.equal({ pay().body.kind, rows.k1.status }, { "uncertain", "uncertain" })
end)

test.case("without a database nothing is charged, and it says so", function()
  local _, calls = world(says "approved")
  test.replace(store, "add", function() fault.raise("unavailable", "down") end)
  local answer = pay()
  test.equal({ answer.status, answer.body.charged, calls() }, { 503, false, 0 })
end)

test.case("an outcome that cannot be written is uncertain", function()
  local rows = world(says "approved")
  test.replace(store, "settle", function() fault.raise("unavailable", "down") end)
  local answer = pay()
  test.equal({ answer.status, answer.body.kind }, { 503, "uncertain" })
  test.equal(answer.body.charged, nil)
  test.equal(rows.k1.status, "pending")
end)

test.case("the same key again charges nobody", function()
  local _, calls = world(says "approved")
  local first, again = pay(), pay()
  test.equal({ again.status, again.body.id }, { 201, first.body.id })
  test.equal(calls(), 1)
end)

test.case("the same key again asks once more while nobody knows", function()
  local rows, calls = world(nil, fault.new("uncertain", "no answer"))
  pay()
  test.replace(http, "call", function() return says "approved" end)
  local again = pay()
  test.equal({ again.status, rows.k1.status, calls() }, { 201, "captured", 1 })
end)

test.case("the same key for something else is refused", function()
  world(says "approved")
  pay()
  local again = pay { amount = 501 }
  test.equal({ again.status, again.body.errors[1].field }, { 422, "Idempotency-Key" })
end)

test.case("the same key while it is being paid is refused", function()
  local rows = world(says "approved")
  pay()
  rows.k1.status = "pending"
  test.equal(pay().status, 409)
end)

test.case("impossible cards are named", function()
  local _, calls = world(says "approved")
  local answer = pay {
    card = { number = "4242424242424241", exp_month = 1, exp_year = 2020, cvc = "123" },
  }
  test.equal(answer.status, 422)
  test.equal({ answer.body.errors[1].field, answer.body.errors[2].field },
    { "card.number", "card.exp_year" })
  test.equal(calls(), 0)
end)

test.case("amounts are whole and positive", function()
  world(says "approved")
  for _, amount in ipairs { 0, -5, 1.5 } do
    test.equal(pay({ amount = amount }).body.errors[1].field, "amount")
  end
end)

test.case("check digits are checked", function()
  for _, number in ipairs { "4242424242424242", "4000000000000002", "4000000000009995",
    "4000000000000119", "378282246310005", "5555555555554444" } do
    test.equal(card.is_valid(number), true, number)
  end
  test.equal(card.is_valid("4242424242424243"), false)
  test.equal(card.brand("378282246310005"), "amex")
  test.equal(card.brand("5555555555554444"), "mastercard")
end)

test.case("a payment is shown to its owner and to administrators only", function()
  world(says "approved")
  local id = "00000000-0000-4000-8000-00000000000b"
  local row = { id = id, customer_id = demo.sub, status = "captured" }
  test.replace(store, "find", function() return row end)
  test.replace(store, "by_order", function() return { row } end)
  local stranger = { sub = "x", role = "customer" }
  local function get(path, user)
    return test.call(payments, "GET /api/v1/payments/" .. path, { user = user })
  end
  test.equal(get(id, demo).status, 200)
  test.equal(get(id, stranger).status, 404)
  test.equal(#get("order/o1", demo).body.items, 1)
  test.equal(get("order/o1", stranger).body, { items = {} })
end)

return test.suite()
