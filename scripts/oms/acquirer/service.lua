-- Acquirer: the mock card network. It authorizes an amount on a card, once per key, and
-- takes its time. It stands for a third party: other teams see its answers and nothing
-- else.
local app = require "app"
local conf = require "conf"
local db = require "db"
local random = require "random"
local rules = require "rules"
local shape = require "shape"
local task = require "task"

local acquirer = app.service "acquirer"

local latency_s = conf.option("latency_ms_median", 40) / 1000

local card = shape.object {
  number = shape.text(12, 19, "^%d+$", "a card number"),
  brand = shape.text(1, 20),
  exp_month = shape.integer(1, 12),
  exp_year = shape.integer(2000, 2100),
  cvc = shape.text(3, 4, "^%d+$", "a security code"),
}

local authorization = shape.object {
  amount = shape.integer(1, 1e12),
  currency = shape.text(3, 3, "^%u+$", "a currency code"),
  reference = shape.text(1, 100),
  card = card,
}

local columns = "id, outcome, code, amount, currency, brand, last4, created_at"
local by_key = "select " .. columns .. " from authorizations where idempotency_key = $1"

-- Writes the outcome down once; the same key again finds what was decided first.
local function record(key, request, decision)
  local row = db.one([[
    insert into authorizations
      (id, idempotency_key, outcome, code, amount, currency, brand, last4, reference)
    values ($1, $2, $3, $4, $5, $6, $7, $8, $9)
    on conflict (idempotency_key) do nothing returning ]] .. columns,
    random.uuid(), key, decision.outcome, decision.code or db.null, request.amount,
    request.currency, request.card.brand, request.card.number:sub(-4), request.reference)
  return row or db.one(by_key, key)
end

acquirer:post("/authorize", { body = authorization, once_by = "idempotency-key" },
  function(req)
    local decision = rules.decide(req.body.card.number)
    local row
    if decision.outcome ~= "error" then
      row = record(req.once_key, req.body, decision)
    end
    -- The books come first: a caller who hangs up now has been charged and does not know
    -- it.
    task.sleep(random.duration(latency_s))
    if not row then
      return 503, { outcome = "error", code = decision.code }
    end
    return 200, row
  end)

return acquirer
