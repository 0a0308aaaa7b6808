-- Acquirer: the mock card network. It authorizes, captures, voids and refunds, each once
-- per key, and takes its time. It stands for a third party: other teams see its answers
-- and nothing else.
local app = require "app"
local conf = require "conf"
local fault = require "fault"
local random = require "random"
local rules = require "rules"
local shape = require "shape"
local store = require "store"
local task = require "task"

local acquirer = app.service "acquirer"

local latency_s = conf.option("latency_ms_median", 40) / 1000

-- Longer than anybody waits, and less than a task has.
local late_s = 4

local key = shape.text(1, 200, "^[%w%p]+$", "the Idempotency-Key of an authorization")
local amount = shape.integer(1, 1e12) -- minor units
local card = shape.object {
  number = shape.text(12, 19, "^%d+$", "a card number"),
  brand = shape.text(1, 20),
  exp_month = shape.integer(1, 12),
  exp_year = shape.integer(2000, 2100),
  cvc = shape.text(3, 4, "^%d+$", "a security code"),
}

local request = shape.object {
  amount = amount,
  currency = shape.text(3, 3, "^%u+$", "a currency code"),
  reference = shape.text(1, 100),
  country = shape.optional(shape.text(2, 2, "^%u+$", "two capital letters")),
  method = shape.one_of { "card", "paypal", "bank_transfer" },
  card = shape.optional(card),
  paypal = shape.optional(shape.object { email = shape.email }),
  bank_transfer = shape.optional(shape.object {
    iban = shape.text(15, 34, "^[%u%d]+$", "an IBAN"),
  }),
}

local authorization = shape.object {
  id = shape.uuid,
  key = key,
  state = shape.one_of { "authorized", "captured", "voided", "declined" },
  outcome = shape.one_of { "approved", "declined" },
  code = shape.optional(shape.text(1, 100)),
  amount = shape.optional(amount),
  currency = shape.optional(shape.text(3, 3)),
  method = shape.text(1, 20),
  brand = shape.optional(shape.text(1, 20)),
  last4 = shape.optional(shape.text(4, 4)),
  captured_amount = shape.integer(0, 1e12),
  refunded_amount = shape.integer(0, 1e12),
  created_at = shape.time,
}

local refund = shape.object {
  id = shape.uuid, outcome = shape.one_of { "refunded" }, amount = amount,
  created_at = shape.time,
}

-- The books come first, then the wait: a caller who hangs up now has been charged and
-- does not know it.
local function wait(late)
  task.sleep(late and late_s or random.duration(latency_s))
end

local function view(row)
  row.captures_late = nil
  return row
end

-- What identifies the instrument, and what of it goes into the books.
local function instrument(body)
  local fields = body[body.method]
  if not fields then
    return nil, app.rejected { { field = body.method, message = "is required" } }
  elseif body.method == "card" then
    return fields.number, { brand = fields.brand, last4 = fields.number:sub(-4) }
  elseif body.method == "paypal" then
    return fields.email, { brand = "paypal" }
  end
  return fields.iban, { brand = fields.iban:sub(1, 2), last4 = fields.iban:sub(-4) }
end

-- A failure of the network itself: it says that nothing was done.
local function failure(decision)
  local status = decision.status
  return fault.new(fault.kind_of(status), "the network failed; nothing was done", {
    status = status, outcome = "error", code = decision.code,
    headers = status == 429 and { ["Retry-After"] = "1" } or nil,
  })
end

local function provider_failure(country)
  return conf.option("failures_by_country", false) and rules.failure(country)
end

-- The state of the books forbids it.
local function refused(row)
  return fault.new("refused", "the authorization is " .. row.state, {
    state = row.state, code = row.code, key = row.key,
  })
end

local function unknown()
  return fault.new("missing", "there is no such authorization")
end

acquirer:post("/authorize", {
  body = request, once_by = "idempotency-key",
  summary = "Reserves an amount on a card, an account or a bank account",
  answers = { [200] = authorization }, faults = { 404, 409, 429 },
}, function(req)
  local identity, kept = instrument(req.body)
  if not identity then
    return kept
  end
  local row, decision, is_new = store.find(req.once_key), nil, false
  if not row then -- what is in the books is never a failure any more
    decision = provider_failure(req.body.country)
      or rules.decide(req.body.method, identity)
    if decision.outcome ~= "error" then
      row, is_new = store.authorize(req.once_key, req.body, decision, kept)
    end
  end
  wait(is_new and decision.late)
  if not row then
    return failure(decision)
  elseif row.state == "voided" then
    return refused(row)
  elseif row.amount ~= req.body.amount or row.currency ~= req.body.currency
    or row.method ~= req.body.method or row.last4 ~= kept.last4 then
    return app.rejected { {
      field = "Idempotency-Key", message = "was used for another authorization",
    } }
  end
  return 200, view(row)
end)

acquirer:post("/capture", {
  body = shape.object { key = key },
  summary = "Takes the money of an authorization",
  answers = { [200] = authorization }, faults = { 404, 409 },
}, function(req)
  local row, is_new = store.capture(req.body.key)
  wait(is_new and row.captures_late)
  if not row then
    return unknown()
  elseif row.state ~= "captured" then
    return refused(row)
  end
  return 200, view(row)
end)

acquirer:post("/void", {
  body = shape.object { key = key },
  summary = "Ends an authorization, also one that is still to come",
  answers = { [200] = authorization }, faults = { 409 },
}, function(req)
  local row = store.void(req.body.key)
  wait()
  if row.state == "captured" then
    return refused(row)
  end
  return 200, view(row)
end)

acquirer:post("/refund", {
  body = shape.object { key = key, amount = amount }, once_by = "idempotency-key",
  summary = "Gives captured money back, all or in parts",
  answers = { [200] = refund }, faults = { 404, 409 },
}, function(req)
  local done, why = store.refund(req.body.key, req.once_key, req.body.amount)
  wait()
  if not done and why.constraint then -- of another authorization at the same moment
    return fault.new("bad_input", "the key was used for another refund")
  elseif not done then
    return why
  elseif done.failed then
    return failure { status = 503, code = "refund_unavailable" }
  end
  done.outcome = "refunded"
  return 200, done
end)

acquirer:get("/authorizations/:key", {
  path = shape.object { key = key },
  summary = "What the books say of a key",
  answers = { [200] = authorization }, faults = { 404 },
}, function(req)
  local row = store.find(req.path.key)
  wait()
  if not row then
    return unknown()
  end
  return 200, view(row)
end)

return acquirer
