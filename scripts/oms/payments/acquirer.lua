-- The card network as payments knows it: each call with a key, a bounded wait, and its
-- answer in a few words.
--
--   authorized, captured, declined, voided   what its books say
--   missing     its books do not have the key
--   error       it says itself that nothing was done
--   unreached   nothing was sent, or on a connection that was just closing
--   unknown     no answer, or none that can be understood
local http = require "http"
local series = require "series"
local task = require "task"

local acquirer = {}

local timeout_s = 2
local states = { authorized = true, captured = true, declined = true, voided = true }

-- Of a refund: it will not be made later either.
local is_refusal = { [400] = true, [404] = true, [409] = true, [422] = true }

---@class said
---@field state string one of the words above; of a refund: refunded, refused and the last
---@field code? string
---@field id? string of the authorization
---@field void_due? boolean the acquirer may hold money for it that nobody will take

-- A third party is not told how long we wait: that is between services of the lab.
local function call(method, path, options)
  options.timeout_s = math.max(0.1, math.min(timeout_s, task.deadline() - 0.5))
  options.repeatable = true
  options.headers = options.headers or {}
  options.headers["x-envoy-expected-rq-timeout-ms"] = "0"
  return series.time(function()
    return http.call("acquirer", method, path, options)
  end)
end

local function body_of(answer)
  return answer and type(answer.body) == "table" and answer.body or {}
end

-- What is the same for every call: nothing came, or a failure of the network.
local function failure(answer, why)
  if not answer and why.kind == "uncertain" then
    return { state = "unknown", code = "no_answer" }
  elseif not answer then
    return { state = "unreached", code = "acquirer_unavailable" }
  end
  local body, code = body_of(answer), "acquirer_status_" .. answer.status
  if body.outcome == "error" then
    return { state = "error", code = body.code or code }
  elseif answer.status == 404 then
    return { state = "missing", code = code }
  elseif answer.status >= 400 and answer.status <= 499 and answer.status ~= 408 then
    return { state = "error", code = code }
  end
  return { state = "unknown", code = code }
end

local function read(answer, why)
  local body = body_of(answer)
  if states[body.state] and (answer.ok or answer.status == 409) then
    return { state = body.state, code = body.code, id = body.id }
  end
  return failure(answer, why)
end

---@param payment table
---@param sent table the instrument, see instrument.sent
---@return said
function acquirer.authorize(payment, sent)
  local body = {
    amount = payment.amount, currency = payment.currency, reference = payment.order_id,
    country = payment.country,
  }
  for name, value in pairs(sent) do
    body[name] = value
  end
  return read(call("POST", "/authorize", {
    headers = { ["Idempotency-Key"] = payment.id }, body = body,
  }))
end

---@param payment table
---@return said
function acquirer.capture(payment)
  return read(call("POST", "/capture", { body = { key = payment.id } }))
end

--- Afterwards the payment cannot be captured, unless it says that it was.
---@param payment table
---@return said
function acquirer.void(payment)
  return read(call("POST", "/void", { body = { key = payment.id } }))
end

--- What its books say now.
---@param payment table
---@return said
function acquirer.find(payment)
  return read(call("GET", "/authorizations/" .. payment.id, {}))
end

---@param refund table
---@return said
function acquirer.refund(refund)
  local answer, why = call("POST", "/refund", {
    headers = { ["Idempotency-Key"] = refund.id },
    body = { key = refund.payment_id, amount = refund.amount },
  })
  local body = body_of(answer)
  if answer and answer.ok and body.outcome == "refunded" then
    return { state = "refunded" }
  elseif answer and body.outcome ~= "error" and is_refusal[answer.status] then
    return { state = "refused", code = "acquirer_status_" .. answer.status }
  end
  return failure(answer, why)
end

return acquirer
