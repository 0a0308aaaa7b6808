-- Payments: charged at most once, given back at most what was charged, and honest about
-- what is not known.
local fault = require "fault"
local test = require "test"
local payments = test.service "oms/payments"

local cache = require "cache"
local card = require "card"
local http = require "http"
local iban = require "iban"
local instrument = require "instrument"
local reconcile = require "reconcile"
local refund_store = require "refund_store"
local store = require "store"
local task = require "task"

local service = { sub = "00000000-0000-4000-8000-00000000000a", role = "service" }
local demo = { sub = "00000000-0000-4000-8000-000000000001", role = "customer" }
local stranger = { sub = "00000000-0000-4000-8000-000000000002", role = "customer" }
local operator = { sub = "00000000-0000-4000-8000-000000000003", role = "operator" }
local admin = { sub = "00000000-0000-4000-8000-000000000004", role = "admin" }
local nobody = "00000000-0000-4000-8000-0000000000ff"

local places = {
  pending = true, captured = true, uncertain = true, refunded = true, voided = true,
}
local noon = "2026-11-20T12:00:00Z"

local function taken(constraint)
  return nil, fault.new("refused", "taken", { constraint = constraint })
end

local function copy(row)
  local same
  if row then
    same = {}
    for name, value in pairs(row) do
      same[name] = value
    end
  end
  return same
end

-- The table of payments with its constraints. Each statement is one step; others run
-- before it and after it, as they do where there is a network in between.
local function payments_table(w)
  local function of(where)
    for _, row in ipairs(w.rows) do
      if where(row) then
        return row
      end
    end
  end
  local function live(order_id)
    return of(function(row) return row.order_id == order_id and places[row.status] end)
  end
  local function mine(payment)
    return of(function(row)
      return row.id == payment.id and row.attempt == payment.attempt
        and row.status == "pending"
    end)
  end
  local function take(row)
    row.status, row.attempt, row.old = "pending", row.attempt + 1, false
    return copy(row)
  end
  local table_of = {}
  function table_of.by_key(caller, key)
    return of(function(row)
      return row.caller == caller and row.idempotency_key == key
    end)
  end
  function table_of.find(id)
    return of(function(row) return row.id == id and row.status ~= "voided" end)
  end
  table_of.live = live
  function table_of.by_order(order_id)
    local found = {}
    for _, row in ipairs(w.rows) do
      if row.order_id == order_id and row.status ~= "voided" then
        found[#found + 1] = row
      end
    end
    return found
  end
  function table_of.add(row)
    if table_of.by_key(row.caller, row.idempotency_key) then
      return taken "payments_once"
    elseif live(row.order_id) then
      return taken "payments_one_per_order"
    end
    for name, value in pairs(row) do
      row[name] = type(value) ~= "userdata" and value or nil
    end
    row.status, row.attempt, row.refunded = "pending", 1, 0
    row.created_at, row.updated_at, row.seq = noon, noon, #w.rows + 1
    w.rows[#w.rows + 1] = row
    return copy(row)
  end
  function table_of.take_up(id)
    local row = of(function(row)
      return row.id == id and (row.status == "uncertain"
        or row.status == "pending" and row.old)
    end)
    return row and take(row)
  end
  function table_of.take_up_old()
    local found = {}
    for _, row in ipairs(w.rows) do
      if row.old and (row.status == "pending" or row.status == "uncertain") then
        found[#found + 1] = take(row)
      end
    end
    return found
  end
  function table_of.authorized(payment)
    return copy(mine(payment))
  end
  function table_of.settle(payment, status, code, said)
    local row = mine(payment)
    if row then
      row.status, row.code, row.void_due = status, code, said.void_due
      row.newly_uncertain = status == "uncertain" and not row.was_uncertain
      row.was_uncertain = row.was_uncertain or status == "uncertain"
    end
    return copy(row)
  end
  function table_of.void(order_id)
    if live(order_id) then
      return false
    end
    w.rows[#w.rows + 1] = { id = "t" .. #w.rows, order_id = order_id, status = "voided" }
    return true
  end
  function table_of.take_up_void_due()
    local found = {}
    for _, row in ipairs(w.rows) do
      found[#found + 1] = row.void_due and row.old and copy(row) or nil
    end
    return found
  end
  function table_of.void_done(id)
    table_of.find(id).void_due = false
  end
  return table_of
end

-- The table of refunds, with the payment's row as its lock.
local function refunds_table(w)
  local table_of = {}
  local function of(where)
    for _, row in ipairs(w.refunds) do
      if where(row) then
        return row
      end
    end
  end
  local function take(row)
    row.status, row.attempt, row.old = "pending", row.attempt + 1, false
    return copy(row)
  end
  function table_of.find(id)
    return of(function(row) return row.id == id end)
  end
  function table_of.by_key(caller, key)
    return of(function(row)
      return row.caller == caller and row.idempotency_key == key
    end)
  end
  function table_of.add(refund)
    local before = table_of.by_key(refund.caller, refund.idempotency_key)
    if before then
      return { before = before }
    end
    local payment
    for _, row in ipairs(w.rows) do
      payment = row.id == refund.payment_id and row or payment
    end
    if not payment then
      return nil, fault.new("missing", "there is no such payment")
    elseif payment.status ~= "captured" and payment.status ~= "refunded" then
      return nil, fault.new("refused", "not captured", { left = 0 })
    end
    local left = payment.amount
    for _, row in ipairs(w.refunds) do
      left = left - (row.status ~= "failed" and row.amount or 0)
    end
    local amount = refund.amount or left
    if amount > left or left == 0 then
      return nil, fault.new("refused", "too much", { left = left })
    end
    refund.id = ("00000000-0000-4000-8000-%012d"):format(#w.refunds + 1)
    refund.amount, refund.status, refund.attempt = amount, "pending", 1
    refund.created_at, refund.updated_at = noon, noon
    w.refunds[#w.refunds + 1] = refund
    return { fresh = copy(refund) }
  end
  function table_of.take_up(id)
    local row = table_of.find(id)
    local free = row.status == "uncertain" or row.status == "pending" and row.old
    return free and take(row) or nil
  end
  function table_of.take_up_old()
    local found = {}
    for _, row in ipairs(w.refunds) do
      if row.old and (row.status == "pending" or row.status == "uncertain") then
        found[#found + 1] = take(row)
      end
    end
    return found
  end
  function table_of.settle(refund, status, code)
    local row = table_of.find(refund.id)
    if row.attempt ~= refund.attempt or row.status ~= "pending" then
      return nil
    end
    row.status, row.code = status, code
    for _, payment in ipairs(w.rows) do
      if payment.id == row.payment_id and status == "done" then
        payment.refunded = payment.refunded + row.amount
        payment.status = payment.refunded == payment.amount and "refunded"
          or payment.status
      end
    end
    return copy(row)
  end
  function table_of.of_payment()
    return w.refunds
  end
  return table_of
end

-- The card network: books by key, in which each call is one step.
local function network(w)
  local acts = {}
  local function says(row, ok)
    return {
      ok = ok, status = ok and 200 or 409,
      body = { id = "a", state = row.state, code = row.code },
    }
  end
  acts["/authorize"] = function(key, body)
    w.books[key] = w.books[key] or { state = w.decides or "authorized", code = w.code }
    w.sent = body
    return says(w.books[key], w.books[key].state ~= "voided")
  end
  acts["/capture"] = function(_, body)
    local row = w.books[body.key]
    if row.state == "authorized" then
      row.state = "captured"
    end
    return says(row, row.state == "captured")
  end
  acts["/void"] = function(_, body)
    local row = w.books[body.key] or { state = "authorized" }
    w.books[body.key] = row
    row.state = row.state == "authorized" and "voided" or row.state
    return says(row, row.state ~= "captured")
  end
  acts["/refund"] = function(key, body)
    w.given[key] = body.amount
    return { ok = true, status = 200, body = { id = "r", outcome = "refunded" } }
  end
  acts["/authorizations"] = function(key)
    local row = w.books[key]
    return row and says(row, true)
      or { ok = false, status = 404, body = { kind = "missing" } }
  end
  return function(_, _, path, options)
    local act, key = path:match("^(/%a+)/?(.*)$")
    key = options.headers["Idempotency-Key"] or key
    task.sleep(0)
    w.calls[#w.calls + 1] = act
    local trouble = table.remove(w.trouble[act] or {}, 1)
    if trouble == "away" then
      return nil, fault.new("unavailable", "refused the connection")
    elseif trouble == "deaf" then -- it never got it, and we cannot know
      return nil, fault.new("uncertain", "no answer")
    elseif type(trouble) == "function" then
      trouble(key)
    elseif type(trouble) == "table" then
      return trouble
    end
    local answer = acts[act](key, options.body)
    task.sleep(0)
    if trouble == "silent" then -- it did it, and does not say so
      return nil, fault.new("uncertain", "no answer")
    end
    return answer
  end
end

local function stepped(target, fns)
  for name, fn in pairs(fns) do
    test.replace(target, name, function(...)
      task.sleep(0)
      local result, why = fn(...)
      task.sleep(0)
      return result, why
    end)
  end
end

-- Everything around payments: w.rows, w.refunds, the network's w.books and w.given, and
-- w.trouble[path], what happens to the next calls.
local function world(changes)
  local w = { rows = {}, refunds = {}, books = {}, given = {}, calls = {}, trouble = {} }
  for name, value in pairs(changes or {}) do
    w[name] = value
  end
  test.replace(cache, "get", function() end)
  test.replace(cache, "put", function() end)
  test.replace(http, "call", network(w))
  stepped(store, payments_table(w))
  stepped(refund_store, refunds_table(w))
  return w
end

local function request(changes)
  local value = {
    order_id = "o1", customer_id = demo.sub, amount = 500, currency = "USD",
    method = "card",
    card = { number = "4242424242424242", exp_month = 12, exp_year = 2099, cvc = "123" },
  }
  for name, change in pairs(changes or {}) do
    value[name] = change
  end
  if value.method ~= "card" and not (changes or {}).card then
    value.card = nil
  end
  return value
end

local function pay(changes, key, user)
  return test.call(payments, "POST /api/v1/payments", {
    user = user or service, body = request(changes),
    headers = { ["Idempotency-Key"] = key or "k1" },
  })
end

local function give_back(id, body, key, user)
  return test.call(payments, "POST /api/v1/payments/" .. id .. "/refund", {
    user = user or service, body = body or { amount = 100 },
    headers = { ["Idempotency-Key"] = key or "r1" },
  })
end

local function void(order_id, user)
  return test.call(payments, "POST /api/v1/payments/order/" .. (order_id or "o1")
    .. "/void", { user = user or service })
end

local function get(path, user, query)
  return test.call(payments, "GET /api/v1/payments" .. path, {
    user = user or service, query = query,
  })
end

-- Everything open is old, and the job comes.
local function settle(w)
  for _, rows in ipairs { w.rows, w.refunds } do
    for _, row in ipairs(rows) do
      row.old = true
    end
  end
  reconcile.run()
end

local function crash(target, name)
  test.replace(target, name, function() error("the process ended here", 0) end)
end

local function count(name, labels)
  return test.value(name, labels) or 0
end

-- Paying

test.case("an approved card is captured, and its number kept nowhere", function()
  local w = world()
  local answer = pay()
  test.equal({ answer.status, answer.body.status, answer.body.card },
    { 201, "captured", { brand = "visa", last4 = "4242" } })
  test.equal(answer.body.customer_id, demo.sub)
  test.equal(w.calls, { "/authorize", "/capture" })
  for _, value in pairs(w.rows[1]) do
    test.equal(tostring(value):find("42424242", 1, true), nil)
  end
end)

test.case("a PayPal account pays, and is kept with its name masked", function()
  local w = world()
  local answer = pay { method = "paypal", paypal = { email = "buyer@orrery.test" } }
  test.equal({ answer.status, answer.body.paypal },
    { 201, { email = "b***@orrery.test" } })
  test.equal(w.sent.paypal, { email = "buyer@orrery.test" })
  for _, value in pairs(w.rows[1]) do
    test.equal(tostring(value):find("buyer", 1, true), nil)
  end
end)

test.case("a bank account pays, and of its IBAN the end is kept", function()
  local w = world()
  local answer = pay {
    method = "bank_transfer", bank_transfer = { iban = "de89 3704 0044 0532 0130 00" },
  }
  test.equal({ answer.status, answer.body.bank_transfer },
    { 201, { country = "DE", last4 = "3000" } })
  test.equal(w.sent.bank_transfer, { iban = "DE89370400440532013000" })
  for _, value in pairs(w.rows[1]) do
    test.equal(tostring(value):find("0532", 1, true), nil)
  end
end)

test.case("a declined card is 402 with the code, and is not captured", function()
  local w = world { decides = "declined", code = "insufficient_funds" }
  local answer = pay()
  test.equal({ answer.status, answer.body.kind, answer.body.decline_code },
    { 402, "refused", "insufficient_funds" })
  test.equal({ answer.body.charged, w.calls }, { false, { "/authorize" } })
end)

test.case("a payment counts by outcome, method, currency and country, once", function()
  world()
  local labels = { "captured", "card" }
  local money, captured = count("payment_amount_total", { "USD" }),
    count("payments_processed_total", labels)
  local german = count("payments_by_country_total", { "DE", "captured" })
  pay { country = "DE" }
  pay { country = "DE" }
  test.equal({ count("payments_processed_total", labels),
    count("payment_amount_total", { "USD" }),
    count("payments_by_country_total", { "DE", "captured" }) },
    { captured + 1, money + 500, german + 1 })
  world { decides = "declined", code = "lost_card" }
  pay({ order_id = "o2" }, "k2")
  test.equal(count("payment_amount_total", { "USD" }), money + 500)
end)

test.case("countries nobody listed are other, Britain is UK, none is unknown", function()
  world()
  for given, label in pairs { SE = "other", GB = "UK", UK = "UK", [""] = "unknown" } do
    local before = count("payments_by_country_total", { label, "captured" })
    pay({ order_id = "o" .. given, country = given ~= "" and given or nil }, "k" .. given)
    local after = count("payments_by_country_total", { label, "captured" })
    test.equal(after, before + 1, given)
  end
end)

test.case("each call to the acquirer is measured", function()
  world()
  local before = count "payment_gateway_latency_seconds"
  pay()
  test.equal(count "payment_gateway_latency_seconds", before + 2)
end)

test.case("no log has the card's number or its code", function()
  world()
  pay()
  world { decides = "declined", code = "lost_card" }
  pay({ order_id = "o2" }, "k2")
  test.equal(#test.logs(), 2)
  for _, record in ipairs(test.logs()) do
    for _, value in pairs(record.attributes) do
      test.equal(tostring(value):find("4242", 1, true), nil)
      test.equal(value == "123", false)
    end
  end
end)

test.case("an error of the card network is 503, and nothing was charged", function()
  local w = world { trouble = { ["/authorize"] = { {
    ok = false, status = 503, body = { outcome = "error", code = "processing_error" },
  } } } }
  local answer = pay()
  test.equal({ answer.status, answer.body.kind, answer.body.charged },
    { 503, "unavailable", false })
  test.equal({ w.rows[1].status, w.calls }, { "failed", { "/authorize" } })
end)

test.case("every status a provider fails with says that nothing was charged", function()
  for _, status in ipairs { 400, 404, 429, 500, 503 } do
    local w = world { trouble = { ["/authorize"] = { {
      ok = false, status = status, body = { outcome = "error", code = "provider_x" },
    } } } }
    test.equal({ pay().body.charged, w.rows[1].status }, { false, "failed" }, status)
  end
end)

test.case("an acquirer that cannot be reached charged nothing", function()
  local w = world { trouble = { ["/authorize"] = { "away" } } }
  local answer = pay()
  test.equal({ answer.body.kind, answer.body.charged, w.rows[1].status },
    { "unavailable", false, "failed" })
end)

test.case("money left authorized by a lost connection is set free later", function()
  local w = world { trouble = { ["/authorize"] = { "away" } } }
  local id = pay().body.payment_id
  w.books[id] = { state = "authorized" } -- the request came through after all
  settle(w)
  test.equal({ w.books[id].state, w.rows[1].status, w.rows[1].void_due },
    { "voided", "failed", false })
end)

test.case("no answer to the authorization, or nonsense, is uncertain", function()
  for _, trouble in ipairs { "silent", "deaf", { ok = true, status = 200 },
    { ok = false, status = 500, body = "<html>" },
    { ok = false, status = 408, body = {} } } do
    local w = world { trouble = { ["/authorize"] = { trouble } } }
    local answer = pay()
    test.equal({ answer.status, answer.body.kind, answer.body.charged, w.rows[1].status },
      { 503, "uncertain", nil, "uncertain" })
  end
end)

test.case("a capture without an answer is uncertain, whatever went wrong", function()
  for _, trouble in ipairs { "silent", "deaf", "away",
    { ok = false, status = 429, body = {} } } do
    local w = world { trouble = { ["/capture"] = { trouble } } }
    local answer = pay()
    test.equal({ answer.body.kind, answer.body.charged, w.rows[1].status },
      { "uncertain", nil, "uncertain" })
  end
end)

test.case("without a database nothing is charged, and it says so", function()
  local w = world()
  test.replace(store, "add", function() fault.raise("unavailable", "down") end)
  local answer = pay()
  test.equal({ answer.status, answer.body.charged, w.calls }, { 503, false, {} })
end)

test.case("what cannot be written as authorized is not captured", function()
  local w = world()
  test.replace(store, "authorized", function() fault.raise("unavailable", "down") end)
  local answer = pay()
  test.equal({ answer.body.kind, answer.body.charged, w.calls, w.rows[1].status },
    { "uncertain", nil, { "/authorize" }, "pending" })
end)

test.case("an outcome that cannot be written is uncertain", function()
  local w = world()
  test.replace(store, "settle", function() fault.raise("unavailable", "down") end)
  local answer = pay()
  test.equal({ answer.status, answer.body.kind, answer.body.charged },
    { 503, "uncertain", nil })
  test.equal(w.rows[1].status, "pending")
end)

-- Paying twice

test.case("the same key again charges nobody", function()
  local w = world()
  local first, again = pay(), pay()
  test.equal({ again.status, again.body.id, #w.calls }, { 201, first.body.id, 2 })
end)

test.case("the key is found in Redis before PostgreSQL is asked for it", function()
  local w = world()
  local kept = {}
  test.replace(cache, "put", function(key, value) kept[key] = value end)
  test.replace(cache, "get", function(key) return kept[key] end)
  local first = pay()
  crash(store, "add")
  crash(store, "by_key")
  test.equal({ pay().body.id, #w.calls }, { first.body.id, 2 })
end)

test.case("the same key again asks once more while nobody knows", function()
  local w = world { trouble = { ["/authorize"] = { "silent" } } }
  pay()
  local again = pay()
  test.equal({ again.status, w.rows[1].status, #w.rows }, { 201, "captured", 1 })
end)

test.case("the same key for something else is refused", function()
  world()
  pay()
  for name, other in pairs {
    amount = 501, currency = "EUR", order_id = "o2", country = "DE",
    customer_id = stranger.sub,
    card = { number = "4000000000000002", exp_month = 12, exp_year = 2099, cvc = "123" },
  } do
    local again = pay { [name] = other }
    test.equal({ again.status, again.body.errors and again.body.errors[1].field },
      { 422, "Idempotency-Key" }, name)
  end
end)

test.case("two callers may have chosen the same key", function()
  world()
  local first = pay()
  local other = pay({ order_id = "o2" }, "k1", operator)
  test.equal({ other.status, other.body.id == first.body.id }, { 201, false })
end)

test.case("the same key while it is being paid is refused", function()
  local w = world()
  pay()
  w.rows[1].status = "pending"
  test.equal(pay().status, 409)
end)

test.case("many with one key at once make one charge", function()
  local w = world()
  local parts, statuses = {}, {}
  for i = 1, 10 do
    parts[i] = function()
      local status = pay().status
      statuses[status] = (statuses[status] or 0) + 1
    end
  end
  task.all(parts)
  test.equal({ #w.rows, w.calls }, { 1, { "/authorize", "/capture" } })
  test.equal(statuses, { [201] = 1, [409] = 9 })
end)

test.case("many payments of one order at once make one charge", function()
  local w = world()
  local parts = {}
  for i = 1, 10 do
    parts[i] = function() pay(nil, "k" .. i) end
  end
  task.all(parts)
  test.equal({ #w.rows, #w.calls }, { 1, 2 })
end)

test.case("an order that was declined can be paid by another card", function()
  local w = world { decides = "declined", code = "lost_card" }
  pay()
  w.decides = nil
  test.equal({ pay(nil, "k2").status, #w.rows }, { 201, 2 })
end)

test.case("an order whose money went back is not charged a second time", function()
  world()
  give_back(pay().body.id, { amount = 500 })
  test.equal({ pay(nil, "k2").status, pay().body.status }, { 409, "refunded" })
end)

test.case("a fingerprint is nothing without the lab's secret", function()
  world()
  local jwt = require "jwt"
  test.replace(jwt, "secret", function() return "one" end)
  local one = instrument.fingerprint(request())
  test.replace(jwt, "secret", function() return "two" end)
  test.equal(instrument.fingerprint(request()) == one, false)
end)

-- Input

test.case("impossible cards are named", function()
  local w = world()
  local answer = pay {
    card = { number = "4242424242424241", exp_month = 1, exp_year = 2020, cvc = "1234" },
  }
  test.equal(answer.status, 422)
  local fields = {}
  for i, problem in ipairs(answer.body.errors) do
    fields[i] = problem.field
  end
  test.equal(fields, { "card.number", "card.exp_year", "card.cvc" })
  test.equal(answer.body.errors[2].message, "is past: the card has expired")
  test.equal(w.calls, {})
end)

test.case("a rejected instrument is not repeated to its caller", function()
  world()
  for _, changes in ipairs {
    { card = { number = "4242424242424241", exp_month = 1, exp_year = 2099,
      cvc = "987" } },
    { method = "bank_transfer", bank_transfer = { iban = "DE88370400440532013000" } },
  } do
    local answer = pay(changes)
    test.equal(answer.status, 422)
    local told = require("json").encode(answer.body)
    for _, secret in ipairs { "42424", "987", "3704" } do
      test.equal(told:find(secret, 1, true), nil, secret)
    end
  end
end)

test.case("the instrument is the method's, and only one", function()
  world()
  local answer = pay { method = "paypal" }
  test.equal(answer.body.errors[1].field, "paypal")
  answer = pay { paypal = { email = "a@b.test" } }
  test.equal(answer.body.errors[1].field, "paypal")
  answer = pay { method = "paypal", paypal = { email = "nobody" } }
  test.equal(answer.body.errors[1].field, "paypal.email")
  answer = pay { method = "bank_transfer", bank_transfer = { iban = "DE8937040044" } }
  test.equal(answer.body.errors[1].field, "bank_transfer.iban")
end)

test.case("amounts are whole and positive", function()
  world()
  for _, amount in ipairs { 0, -5, 1.5 } do
    test.equal(pay({ amount = amount }).body.errors[1].field, "amount")
  end
end)

test.case("check digits are checked", function()
  for _, number in ipairs { "4242424242424242", "4000000000000002", "4000000000009995",
    "4000000000000119", "4000000000004087", "4000000000004095", "4000000000005035",
    "378282246310005", "5555555555554444" } do
    test.equal(card.is_valid(number), true, number)
  end
  test.equal(card.is_valid("4242424242424243"), false)
  test.equal(card.brand("378282246310005"), "amex")
  test.equal(card.brand("5555555555554444"), "mastercard")
  test.equal(card.brand("2720990000000007"), "mastercard")
  test.equal(card.brand("2721000000000004"), "other")
end)

test.case("a brand decides how long number and code are", function()
  local function problems(number, cvc)
    local fields = {}
    for i, problem in ipairs(card.problems {
      number = number, cvc = cvc, exp_month = 12, exp_year = 2099,
    }) do
      fields[i] = problem.field
    end
    return fields
  end
  test.equal(problems("378282246310005", "1234"), {})
  test.equal(problems("378282246310005", "123"), { "card.cvc" })
  test.equal(problems("4242424242424242", "1234"), { "card.cvc" })
  test.equal(problems("42424242424242", "123"), { "card.number" })
end)

test.case("an IBAN has its country's length and right check digits", function()
  for _, good in ipairs { "DE89370400440532013000", "GB29NWBK60161331926819",
    "FR1420041010050500013M02606", "DE14370400440000000002" } do
    test.equal(iban.is_valid(good), true, good)
  end
  for _, bad in ipairs { "DE88370400440532013000", "DE8937040044053201300",
    "DE893704004405320130000", "XX89370400440532013000", "DE", "" } do
    test.equal(iban.is_valid(bad), false, bad)
  end
end)

-- Giving up an order

test.case("a voided order is never charged", function()
  local w = world()
  test.equal(void().body, { status = "none" })
  local answer = pay()
  test.equal({ answer.status, answer.body.kind, answer.body.charged, w.calls },
    { 409, "refused", false, {} })
  test.equal(void().body, { status = "none" })
end)

test.case("voiding an order that was paid says what was taken", function()
  world()
  local id = pay().body.id
  give_back(id, { amount = 200 })
  test.equal(void().body, {
    status = "captured", payment_id = id, amount = 500, refunded = 200,
  })
end)

test.case("an order voided after its payment came to nothing stays unpaid", function()
  local w = world { decides = "declined", code = "lost_card" }
  pay()
  test.equal(void().body, { status = "none" })
  w.decides = nil
  test.equal(pay(nil, "k2").status, 409)
end)

test.case("a void while nobody knows is open, and later what it became", function()
  local w = world { trouble = { ["/capture"] = { "silent" } } }
  pay()
  test.equal(void().body, { status = "open" })
  settle(w)
  test.equal(void().body.status, "captured")
end)

test.case("an order whose money is all back has nothing to undo", function()
  world()
  give_back(pay().body.id, { amount = 500 })
  test.equal(void().body, { status = "none" })
end)

test.case("none is a promise: whoever pays meanwhile is not charged", function()
  for steps = 0, 14 do
    local w = world()
    local answers, paid = {}, nil
    task.all {
      function() paid = pay() end,
      function()
        for _ = 1, steps do
          task.sleep(0)
        end
        for i = 1, 3 do
          answers[i] = void().body.status
        end
      end,
    }
    answers[4] = void().body.status
    for i, status in ipairs(answers) do
      if status == "none" then
        test.equal({ paid.status, #w.calls }, { 409, 0 }, "step " .. steps)
      end
      test.equal(i == 4 and status == "open", false, "step " .. steps)
    end
  end
end)

test.case("who was overtaken while it slept does not capture", function()
  local w
  w = world { trouble = { ["/authorize"] = { function()
    -- The process stands still here for long; others settle, and give the order up.
    settle(w)
    test.equal(w.rows[1].status, "failed")
    test.equal(void().body, { status = "none" })
  end } } }
  local answer = pay()
  test.equal({ answer.status, answer.body.charged }, { 503, false })
  for _, row in pairs(w.books) do
    test.equal(row.state, "voided")
  end
end)

test.case("who was overtaken after the authorization does not capture", function()
  local w = world()
  local authorized = store.authorized
  test.replace(store, "authorized", function(...)
    test.replace(store, "authorized", authorized)
    settle(w) -- finds it authorized, and captures
    return authorized(...)
  end)
  local answer = pay()
  test.equal({ answer.status, w.rows[1].status, #w.rows }, { 201, "captured", 1 })
  local captures = 0
  for _, act in ipairs(w.calls) do
    captures = captures + (act == "/capture" and 1 or 0)
  end
  test.equal(captures, 1)
end)

test.case("a later attempt fails only once the acquirer has voided it", function()
  local w = world { trouble = { ["/authorize"] = { "deaf", "away" },
    ["/void"] = { "away" } } }
  pay()
  test.equal({ pay().body.kind, w.rows[1].status }, { "uncertain", "uncertain" })
  w.trouble["/authorize"] = { "away" }
  local answer = pay()
  test.equal({ answer.body.kind, answer.body.charged }, { "unavailable", false })
  for _, row in pairs(w.books) do
    test.equal(row.state, "voided")
  end
end)

-- Crashes: the process ends before the step; another one reconciles.

for step, expected in pairs {
  authorized = "captured", settle = "captured",
} do
  test.case("a process that ends before " .. step .. " leaves what can be settled",
    function()
      local w = world()
      local kept = store[step]
      crash(store, step)
      test.equal(pcall(pay), false)
      test.equal({ w.rows[1].status, void().body.status }, { "pending", "open" })
      test.replace(store, step, kept)
      settle(w)
      test.equal({ w.rows[1].status, pay().status }, { expected, 201 })
    end)
end

for _, act in ipairs { "/authorize", "/capture" } do
  test.case("a process that ends before " .. act .. " leaves what can be settled",
    function()
      local w = world { trouble = { [act] = { function()
        error("the process ended here", 0)
      end } } }
      test.equal(pcall(pay), false)
      settle(w)
      local expected = act == "/capture" and "captured" or "failed"
      test.equal(w.rows[1].status, expected)
      local _, book = next(w.books)
      test.equal(book.state, expected == "failed" and "voided" or "captured")
    end)
end

-- Reconciliation

test.case("the books decide about what is open", function()
  for state, expected in pairs {
    authorized = "captured", captured = "captured", declined = "declined",
    voided = "failed",
  } do
    local w = world { trouble = { ["/authorize"] = { "deaf" } } }
    local id = pay().body.payment_id
    w.books[id] = { state = state }
    settle(w)
    test.equal(w.rows[1].status, expected, state)
  end
end)

test.case("what the acquirer does not know is voided there, then failed here", function()
  local w = world { trouble = { ["/authorize"] = { "deaf" } } }
  local id = pay().body.payment_id
  settle(w)
  test.equal({ w.rows[1].status, w.books[id].state }, { "failed", "voided" })
  test.equal(void().body, { status = "none" })
end)

test.case("what cannot be settled now stays uncertain, and is counted once", function()
  local labels = { "uncertain", "card" }
  local w = world { trouble = { ["/authorize"] = { "deaf" },
    ["/authorizations"] = { "away", "deaf" }, ["/void"] = { "deaf" } } }
  local before = count("payments_processed_total", labels)
  local failures = count("payments_processed_total", { "failed", "card" })
  pay()
  for _ = 1, 3 do
    settle(w)
    test.equal(w.rows[1].status, "uncertain")
  end
  settle(w)
  test.equal(w.rows[1].status, "failed")
  test.equal({ count("payments_processed_total", labels),
    count("payments_processed_total", { "failed", "card" }) },
    { before + 1, failures + 1 })
end)

test.case("what reconciliation captures counts as money", function()
  local w = world { trouble = { ["/capture"] = { "silent" } } }
  local money = count("payment_amount_total", { "USD" })
  pay()
  test.equal(count("payment_amount_total", { "USD" }), money)
  settle(w)
  settle(w)
  test.equal(count("payment_amount_total", { "USD" }), money + 500)
end)

test.case("one payment that cannot be settled does not keep the others", function()
  local w = world { trouble = { ["/authorize"] = { "deaf", "deaf", "deaf" } } }
  for i = 1, 3 do
    pay({ order_id = "o" .. i }, "k" .. i)
  end
  local kept = store.settle
  test.replace(store, "settle", function(payment, ...)
    if payment.order_id == "o2" then
      fault.raise("unavailable", "down")
    end
    return kept(payment, ...)
  end)
  test.equal(pcall(settle, w), false)
  test.equal({ w.rows[1].status, w.rows[2].status, w.rows[3].status },
    { "failed", "pending", "failed" })
end)

-- Refunds

test.case("all that is left is given back unless an amount is named", function()
  local w = world()
  local id = pay().body.id
  local refunds = count "refunds_processed_total"
  local part = give_back(id, { amount = 120, reason = "one was broken" })
  test.equal({ part.status, part.body.amount, part.body.status, part.body.reason },
    { 201, 120, "done", "one was broken" })
  test.equal({ w.rows[1].status, w.rows[1].refunded }, { "captured", 120 })
  local rest = give_back(id, { reason = "and the other" }, "r2")
  test.equal({ rest.status, rest.body.amount }, { 201, 380 })
  test.equal({ w.rows[1].status, w.rows[1].refunded }, { "refunded", 500 })
  test.equal(count "refunds_processed_total", refunds + 2)
end)

test.case("more than what is left is refused, and told how much that is", function()
  world()
  local id = pay().body.id
  give_back(id, { amount = 450 })
  local answer = give_back(id, { amount = 51 }, "r2")
  test.equal({ answer.status, answer.body.kind, answer.body.left },
    { 409, "refused", 50 })
end)

test.case("many refunds at once give back no more than was taken", function()
  local w = world()
  local id = pay().body.id
  local parts, done = {}, 0
  for i = 1, 10 do
    parts[i] = function()
      if give_back(id, { amount = 120 }, "r" .. i).status == 201 then
        done = done + 1
      end
    end
  end
  task.all(parts)
  test.equal({ done, w.rows[1].refunded }, { 4, 480 })
end)

test.case("what was not captured cannot be given back", function()
  for _, status in ipairs { "pending", "uncertain", "declined", "failed" } do
    local w = world()
    local id = pay().body.id
    w.rows[1].status = status
    test.equal(give_back(id).status, 409, status)
  end
  world()
  test.equal(give_back(nobody).status, 404)
end)

test.case("the same key gives back once, and only for the same", function()
  local w = world()
  local id = pay().body.id
  local first, again = give_back(id), give_back(id)
  test.equal({ again.status, again.body.id, w.rows[1].refunded },
    { 201, first.body.id, 100 })
  test.equal(give_back(id, { amount = 101 }).status, 422)
  test.equal(give_back(id, { amount = 100, reason = "x" }).status, 422)
end)

test.case("one key on two payments at once is one refund", function()
  local w = world()
  local one = pay().body.id
  local two = pay({ order_id = "o2" }, "k2").body.id
  give_back(one)
  test.replace(refund_store, "add", function() return taken "refunds_once" end)
  test.equal({ give_back(two).status, #w.refunds }, { 422, 1 })
end)

test.case("a refund that fails for now is taken, and made later", function()
  for _, trouble in ipairs { "away", { ok = false, status = 503,
    body = { outcome = "error", code = "refund_unavailable" } } } do
    local w = world { trouble = { ["/refund"] = { trouble } } }
    local id = pay().body.id
    local answer = give_back(id)
    test.equal({ answer.status, answer.body.status, w.rows[1].refunded },
      { 201, "pending", 0 })
    settle(w)
    test.equal({ w.refunds[1].status, w.rows[1].refunded }, { "done", 100 })
    test.equal(give_back(id).body.status, "done")
  end
end)

test.case("a refund without an answer is uncertain, counts, and is made once", function()
  local w = world { trouble = { ["/refund"] = { "silent" } } }
  local id = pay().body.id
  test.equal(give_back(id, { amount = 400 }).body.status, "uncertain")
  local other = give_back(id, { amount = 101 }, "r2")
  test.equal({ other.status, other.body.left }, { 409, 100 })
  settle(w)
  test.equal({ w.refunds[1].status, w.rows[1].refunded }, { "done", 400 })
  test.equal(w.given, { [w.refunds[1].id] = 400 })
end)

test.case("the same key asks again for a refund that nobody knows of", function()
  local w = world { trouble = { ["/refund"] = { "deaf" } } }
  local id = pay().body.id
  give_back(id)
  test.equal({ give_back(id).body.status, w.rows[1].refunded }, { "done", 100 })
end)

test.case("a refund that the acquirer refuses has failed; its money is left", function()
  local w = world { trouble = { ["/refund"] = { {
    ok = false, status = 409, body = { kind = "refused" },
  } } } }
  local id = pay().body.id
  local answer = give_back(id, { amount = 500 })
  test.equal({ answer.status, w.refunds[1].status }, { 409, "failed" })
  test.equal(give_back(id, { amount = 500 }).status, 409)
  test.equal(give_back(id, { amount = 500 }, "r2").status, 201)
end)

test.case("a process that ends before a refund is written leaves it to others", function()
  local w = world()
  local id = pay().body.id
  local kept = refund_store.settle
  crash(refund_store, "settle")
  test.equal(pcall(give_back, id), false)
  test.equal({ w.refunds[1].status, w.rows[1].refunded }, { "pending", 0 })
  test.replace(refund_store, "settle", kept)
  settle(w)
  test.equal({ w.refunds[1].status, w.rows[1].refunded }, { "done", 100 })
  test.equal(w.given, { [w.refunds[1].id] = 100 })
end)

test.case("a database lost after the refund was taken does not lose it", function()
  local w = world()
  local id = pay().body.id
  local kept = refund_store.settle
  test.replace(refund_store, "settle", function() fault.raise("unavailable", "down") end)
  test.equal({ give_back(id).status, w.refunds[1].status }, { 201, "pending" })
  test.replace(refund_store, "settle", kept)
  settle(w)
  test.equal(w.rows[1].refunded, 100)
end)

-- Who may do what

test.case("services and staff pay and give back; customers do not", function()
  world()
  for i, user in ipairs { service, operator, admin } do
    local answer = pay({ order_id = "o" .. i }, "k1", user)
    test.equal(answer.status, 201, user.role)
  end
  test.equal(pay({ order_id = "o9" }, "k9", demo).status, 403)
  test.equal(give_back(nobody, nil, nil, demo).status, 403)
end)

test.case("services and administrators give orders up", function()
  world()
  test.equal({ void("o1", service).status, void("o1", admin).status,
    void("o1", operator).status, void("o1", demo).status }, { 200, 200, 403, 403 })
end)

test.case("a payment is shown to its owner, staff and services only", function()
  world()
  local id = pay().body.id
  give_back(id)
  for _, user in ipairs { demo, service, operator, admin } do
    local answer = get("/" .. id, user)
    test.equal({ answer.status, answer.body.refunds[1].amount }, { 200, 100 }, user.role)
    test.equal(#get("/order/o1", user).body.items, 1)
  end
  test.equal(get("/" .. id, stranger).status, 404)
  test.equal(get("/order/o1", stranger).body, { items = {} })
end)

test.case("a customer lists their own, and staff whose they like", function()
  world()
  local asked
  test.replace(store, "list", function(...)
    asked = { ... }
    return {}
  end)
  get("", demo, { status = "captured" })
  test.equal({ asked[1], asked[2].status, asked[4] }, { demo.sub, "captured", 21 })
  get("", demo, { customer_id = stranger.sub })
  test.equal({ asked[1], asked[2].customer_id }, { demo.sub, stranger.sub })
  get("", operator, { customer_id = stranger.sub, method = "paypal", limit = "5" })
  test.equal({ asked[1] == nil, asked[2].customer_id, asked[2].method, asked[4] },
    { true, stranger.sub, "paypal", 6 })
end)

test.case("a voided order is no payment that anybody sees", function()
  world()
  void()
  test.equal(get("/order/o1", admin).body, { items = {} })
end)

return test.suite()
