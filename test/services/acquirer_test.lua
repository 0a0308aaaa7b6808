-- The acquirer: test instruments do what the industry's do, each thing once per key.
local conf = require "conf"
local db = require "db"
local fault = require "fault"
local test = require "test"
local acquirer = test.service "oms/acquirer"

local random = require "random"
local rules = require "rules"
local store = require "store"
local task = require "task"

local noon = "2026-11-20T12:00:00Z"

local function book(key, state, request, decision)
  return {
    id = random.uuid(), key = key, state = state, amount = request.amount,
    currency = request.currency, method = request.method or "card",
    outcome = decision.outcome, code = decision.code, created_at = noon,
    captured_amount = 0, refunded_amount = 0,
    captures_late = decision.captures_late or false,
    refund_failures = decision.refund_failures or 0,
  }
end

local function copy(row)
  local same = {}
  for name, value in pairs(row) do
    same[name] = value
  end
  same.refund_failures = nil -- stays in the books
  return same
end

-- The books, and the order in which they were written and waited for: w.order.
local function world()
  local w = { rows = {}, refunds = {}, order = {}, slept = {} }
  test.replace(task, "sleep", function(seconds)
    table.insert(w.order, "wait")
    table.insert(w.slept, seconds)
  end)
  test.replace(store, "find", function(key) return w.rows[key] and copy(w.rows[key]) end)
  test.replace(store, "authorize", function(key, request, decision, kept)
    table.insert(w.order, "write")
    local state = decision.outcome == "approved" and "authorized" or "declined"
    local is_new = not w.rows[key]
    w.rows[key] = w.rows[key] or book(key, state, request, decision)
    w.rows[key].brand, w.rows[key].last4 = kept.brand, kept.last4
    return copy(w.rows[key]), is_new
  end)
  test.replace(store, "capture", function(key)
    table.insert(w.order, "write")
    local row = w.rows[key]
    local is_new = row ~= nil and row.state == "authorized"
    if is_new then
      row.state, row.captured_amount = "captured", row.amount
    end
    return row and copy(row), is_new
  end)
  test.replace(store, "void", function(key)
    table.insert(w.order, "write")
    local row = w.rows[key]
      or book(key, "authorized", {}, { outcome = "declined", code = "voided" })
    w.rows[key] = row
    row.state = row.state == "authorized" and "voided" or row.state
    return copy(row)
  end)
  return w
end

local function call(path, body, key)
  return test.call(acquirer, "POST " .. path, {
    headers = { ["Idempotency-Key"] = key or "k" }, body = body,
  })
end

local function authorize(number, key, changes)
  local body = {
    amount = 100, currency = "USD", reference = "o1", method = "card",
    card = {
      number = number or "4242424242424242", brand = "visa", exp_month = 1,
      exp_year = 2099, cvc = "123",
    },
  }
  for name, value in pairs(changes or {}) do
    body[name] = value
  end
  if body.method ~= "card" then
    body.card = nil
  end
  return call("/authorize", body, key)
end

test.case("cards decide", function()
  for number, expected in pairs {
    ["4242424242424242"] = { 200, "approved" },
    ["4000000000000002"] = { 200, "declined", "card_declined" },
    ["4000000000009995"] = { 200, "declined", "insufficient_funds" },
    ["4000000000000119"] = { 503, "error", "processing_error" },
  } do
    world()
    local answer = authorize(number)
    test.equal({ answer.status, answer.body.outcome, answer.body.code }, expected)
  end
end)

test.case("accounts decide", function()
  for _, one in ipairs {
    { "paypal", { email = "buyer@orrery.test" }, 200, "approved" },
    { "paypal", { email = "declined@paypal.test" }, 200, "declined" },
    { "paypal", { email = "error@paypal.test" }, 503, "error" },
    { "bank_transfer", { iban = "DE89370400440532013000" }, 200, "approved" },
    { "bank_transfer", { iban = "DE14370400440000000002" }, 200, "declined" },
    { "bank_transfer", { iban = "DE56370400440000000119" }, 503, "error" },
  } do
    world()
    local answer = authorize(nil, nil, { method = one[1], [one[1]] = one[2] })
    test.equal({ answer.status, answer.body.outcome }, { one[3], one[4] })
  end
end)

test.case("an instrument that is not there is named", function()
  world()
  local answer = authorize(nil, nil, { method = "paypal" })
  test.equal({ answer.status, answer.body.errors[1].field }, { 422, "paypal" })
end)

test.case("an error writes nothing down", function()
  local w = world()
  authorize "4000000000000119"
  test.equal({ w.rows, w.order }, { {}, { "wait" } })
end)

test.case("the same key has one outcome", function()
  world()
  local first = authorize "4242424242424242"
  test.equal(authorize("4242424242424242").body, first.body)
end)

test.case("the same key for something else is refused", function()
  world()
  authorize()
  test.equal(authorize("4000000000000002").status, 422)
  test.equal(authorize(nil, nil, { amount = 101 }).status, 422)
  test.equal(authorize(nil, nil, { currency = "EUR" }).status, 422)
end)

test.case("the books are written before the answer leaves", function()
  local w = world()
  authorize()
  call("/capture", { key = "k" })
  call("/void", { key = "other" })
  test.equal(w.order, { "write", "wait", "write", "wait", "write", "wait" })
end)

test.case("a late card is written at once, and answered when nobody waits", function()
  local w = world()
  test.equal(authorize("4000000000004087").body.state, "authorized")
  test.equal({ w.order[1], w.slept[1] >= 4 }, { "write", true })
  authorize "4000000000004087"
  test.equal(w.slept[2] < 1, true)
end)

test.case("so is a late capture", function()
  local w = world()
  authorize "4000000000004095"
  test.equal(w.slept[1] < 1, true)
  test.equal(call("/capture", { key = "k" }).body.captured_amount, 100)
  test.equal(w.slept[2] >= 4, true)
  test.equal(call("/capture", { key = "k" }).status, 200)
  test.equal(w.slept[3] < 1, true)
end)

test.case("an authorization is captured once, and all of it", function()
  world()
  authorize()
  local first = call("/capture", { key = "k" })
  test.equal({ first.status, first.body.state, first.body.captured_amount },
    { 200, "captured", 100 })
  test.equal(call("/capture", { key = "k" }).body, first.body)
end)

test.case("what is voided is not captured, and what is captured not voided", function()
  world()
  authorize(nil, "a")
  call("/void", { key = "a" })
  local answer = call("/capture", { key = "a" })
  test.equal({ answer.status, answer.body.state }, { 409, "voided" })
  authorize(nil, "b")
  call("/capture", { key = "b" })
  answer = call("/void", { key = "b" })
  test.equal({ answer.status, answer.body.state }, { 409, "captured" })
end)

test.case("a declined authorization is not captured, and may be voided", function()
  world()
  authorize "4000000000000002"
  test.equal(call("/capture", { key = "k" }).body.state, "declined")
  local answer = call("/void", { key = "k" })
  test.equal({ answer.status, answer.body.state }, { 200, "declined" })
end)

test.case("a key that is voided before it comes is refused when it does", function()
  world()
  test.equal(call("/void", { key = "k" }).body.state, "voided")
  local answer = authorize()
  test.equal({ answer.status, answer.body.state }, { 409, "voided" })
end)

test.case("what nobody authorized is missing", function()
  world()
  test.equal(call("/capture", { key = "k" }).status, 404)
  test.equal(test.call(acquirer, "GET /authorizations/k").status, 404)
  authorize()
  test.equal(test.call(acquirer, "GET /authorizations/k").body.state, "authorized")
end)

-- Refunds: the story of store.refund, on a row and the refunds of it.
local function vault(row)
  local refunds = {}
  test.replace(task, "sleep", function() end)
  test.replace(db, "tx", function(fn)
    local tx = {}
    function tx.one(_, sql, a, b, c, d)
      if sql:find "for update" then
        return row
      elseif sql:find "insert into refunds" then
        refunds[b] = { id = a, amount = d, authorization_id = c, created_at = noon }
        return { id = a, amount = d, created_at = noon }
      end
      return refunds[a] and copy(refunds[a])
    end
    function tx.query(_, sql, _, amount)
      if sql:find "refund_failures %- 1" then
        row.refund_failures = row.refund_failures - 1
      else
        row.refunded_amount = row.refunded_amount + amount
      end
    end
    return fn(tx)
  end)
  return refunds
end

local function captured(changes)
  local row = {
    id = random.uuid(), state = "captured", captured_amount = 100, refunded_amount = 0,
    refund_failures = 0,
  }
  for name, value in pairs(changes or {}) do
    row[name] = value
  end
  return row
end

local function refund(amount, key)
  return call("/refund", { key = "k", amount = amount }, key or "r1")
end

test.case("money goes back in parts, and never more than was captured", function()
  local row = captured()
  vault(row)
  test.equal({ refund(60, "r1").body.outcome, refund(40, "r2").body.amount },
    { "refunded", 40 })
  local answer = refund(1, "r3")
  test.equal({ answer.status, answer.body.left, row.refunded_amount }, { 409, 0, 100 })
end)

test.case("a refund is made once per key, and only for the same", function()
  local row = captured()
  vault(row)
  local first, again = refund(60), refund(60)
  test.equal({ again.body, row.refunded_amount }, { first.body, 60 })
  test.equal(refund(61).status, 422)
  row.id = random.uuid() -- another authorization
  test.equal(refund(60).status, 422)
end)

test.case("what was not captured is not given back", function()
  vault(captured { state = "authorized", captured_amount = 0 })
  test.equal(refund(1).status, 409)
  vault(nil)
  test.equal(refund(1).status, 404)
end)

test.case("a refund that fails once is made the next time", function()
  test.equal(rules.decide("card", "4000000000005035").refund_failures, 1)
  local row = captured { refund_failures = 1 }
  vault(row)
  local answer = refund(60)
  test.equal({ answer.status, answer.body.outcome, answer.body.code,
    row.refunded_amount }, { 503, "error", "refund_unavailable", 0 })
  test.equal({ refund(60).status, row.refunded_amount }, { 200, 60 })
end)

test.case("one key for two authorizations at once is refused", function()
  test.replace(task, "sleep", function() end)
  test.replace(store, "refund", function()
    return nil, fault.new("refused", "taken", { constraint = "refunds_key" })
  end)
  test.equal(refund(1).status, 422)
end)

-- Failures of the providers

local table_of_failures = {
  US = { 0.05, { 400, 500, 503 } }, UK = { 0.07, { 400, 404, 500 } },
  DE = { 0.06, { 500, 503 } }, FR = { 0.08, { 400, 500, 503, 429 } },
  JP = { 0.10, { 500, 503 } }, BR = { 0.15, { 400, 404, 500, 503 } },
  IN = { 0.12, { 400, 500, 503 } },
}

test.case("a country's provider fails as often as its table says", function()
  for country, expected in pairs(table_of_failures) do
    test.replace(random, "number", function() return expected[1] - 0.001 end)
    test.equal(rules.failure(country).outcome, "error", country)
    test.replace(random, "number", function() return expected[1] end)
    test.equal(rules.failure(country), nil, country)
  end
end)

test.case("and with the statuses of its table, each of them", function()
  test.replace(random, "number", function() return 0 end)
  for country, expected in pairs(table_of_failures) do
    for i, status in ipairs(expected[2]) do
      test.replace(random, "integer", function(low, high)
        test.equal({ low, high }, { 1, #expected[2] })
        return i
      end)
      test.equal(rules.failure(country).status, status, country)
    end
  end
end)

test.case("countries without a table, and none, never fail", function()
  test.replace(random, "number", function() return 0 end)
  test.equal({ rules.failure "SE", rules.failure(nil) }, {})
  test.equal(rules.failure("GB").outcome, "error")
end)

local function with_failures()
  test.replace(conf, "option", function(name, default)
    return name == "failures_by_country" or default
  end)
  test.replace(random, "integer", function() return 1 end)
end

test.case("a failure of a provider writes nothing down, and says so", function()
  local w = world()
  with_failures()
  test.replace(random, "number", function() return 0.001 end)
  local answer = authorize(nil, nil, { country = "BR" })
  test.equal({ answer.status, answer.body.outcome, answer.body.code, w.order },
    { 400, "error", "provider_rejected", { "wait" } })
end)

test.case("a key that is in the books never fails", function()
  world()
  with_failures()
  test.replace(random, "number", function() return 0.5 end)
  authorize(nil, nil, { country = "BR" })
  test.replace(random, "number", function() return 0.001 end)
  test.equal(authorize(nil, nil, { country = "BR" }).status, 200)
end)

test.case("unless the option says so, no country fails", function()
  local w = world()
  test.replace(random, "number", function() return 0.001 end)
  test.equal({ authorize(nil, nil, { country = "BR" }).status, w.order[1] },
    { 200, "write" })
end)

return test.suite()
