-- The services that orders asks: users with the caller's own token, the others with ours.
-- Each wait is bounded. Gives what the other side answered, or nil, why in our words.
local fault = require "fault"
local http = require "http"
local jwt = require "jwt"
local task = require "task"

local peers = {}

-- Together below the time a task may take, so that there is always an answer of our own.
local timeouts_s = { look = 2, reserve = 2, pay = 4, undo = 1.5 }
local kept_s = 0.5 -- of the task's time, to write down what came of it

-- Why a request was turned away; that our token was not taken is not our caller's fault.
local function refusal(upstream, answer, as_caller)
  local why = http.why(answer)
  if why.kind == "denied" and not as_caller then
    return fault.new("unavailable", upstream .. " does not take our token")
  end
  return why
end

---@param options? {authorization: string?, headers: table?, body: table?,
---  timeout_s: number?, repeatable: boolean?}
local function ask(upstream, method, path, options)
  options = options or {}
  local timeout_s = options.timeout_s or timeouts_s.look
  timeout_s = math.min(timeout_s, task.deadline() - kept_s)
  if timeout_s < 0.05 then
    return nil, fault.new("unavailable", "no time is left to ask " .. upstream)
  end
  local headers = options.headers or {}
  headers.Authorization = options.authorization or jwt.service()
  local answer, why = http.call(upstream, method, path, {
    headers = headers, body = options.body, timeout_s = timeout_s,
    repeatable = options.repeatable,
  })
  if not answer then
    return nil, why
  elseif not answer.ok then
    return nil, refusal(upstream, answer, options.authorization)
  elseif type(answer.body) ~= "table" then
    return nil, fault.new(method == "GET" and "broken" or "uncertain",
      upstream .. " answered without a body")
  end
  return answer.body
end

-- A path segment: everything but letters, digits and -._~ is escaped.
local function segment(text)
  return (text:gsub("[^%w%-%._~]", function(char)
    return ("%%%02X"):format(char:byte())
  end))
end

function peers.user(authorization)
  return ask("users", "GET", "/api/v1/users/me", { authorization = authorization })
end

function peers.item(sku)
  local item, why = ask("inventory", "GET", "/api/v1/inventory/" .. segment(sku))
  if item and item.sku ~= sku then -- another route of inventory has that name: "alerts"
    return nil, fault.new("missing", "no product has the SKU " .. sku)
  end
  return item, why
end

function peers.reserve(order)
  local lines = {}
  for i, item in ipairs(order.items) do
    lines[i] = { sku = item.sku, quantity = item.quantity }
  end
  return ask("inventory", "POST", "/api/v1/inventory/reserve", {
    body = { order_id = order.id, items = lines },
    timeout_s = timeouts_s.reserve, repeatable = true,
  })
end

function peers.release(order)
  return ask("inventory", "POST", "/api/v1/inventory/release", {
    body = { order_id = order.id }, timeout_s = timeouts_s.undo, repeatable = true,
  })
end

-- A member of the payment's body, as our own caller knows it.
local function our_name(field)
  return field == "country" and "billing.country" or "payment." .. field
end

-- Not repeatable: it is the only request with its key, so what its answer says of this
-- request (`charged`) holds for the payment.
function peers.pay(order, payment)
  local done, why = ask("payments", "POST", "/api/v1/payments", {
    headers = { ["Idempotency-Key"] = order.id },
    body = {
      order_id = order.id, customer_id = order.customer_id, amount = order.total,
      currency = order.currency, country = order.country, method = payment.method,
      [payment.method] = payment[payment.method],
    },
    timeout_s = timeouts_s.pay,
  })
  for _, problem in ipairs(why and why.errors or {}) do
    problem.field = our_name(problem.field)
    why.detail = problem.field .. " " .. problem.message
  end
  return done, why
end

--- What became of the order's payment, and the promise that nothing does any more unless
--- it did: {status = "captured", payment_id, amount, refunded}, or "none", or "open".
function peers.void(order)
  return ask("payments", "POST", "/api/v1/payments/order/" .. order.id .. "/void", {
    timeout_s = timeouts_s.pay, repeatable = true,
  })
end

--- Gives all of the order's money back, once, however often it is asked.
function peers.refund(order)
  return ask("payments", "POST", "/api/v1/payments/" .. order.payment_id .. "/refund", {
    headers = { ["Idempotency-Key"] = order.id .. ":refund" },
    body = { reason = "order cancelled" }, timeout_s = timeouts_s.pay, repeatable = true,
  })
end

function peers.payment(order)
  return ask("payments", "GET", "/api/v1/payments/" .. order.payment_id)
end

return peers
