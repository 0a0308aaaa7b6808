-- The services that orders asks, each call with the caller's own token and a bounded
-- wait. Gives what the other side answered, or nil, why in our words.
local fault = require "fault"
local http = require "http"

local peers = {}

-- Together below the time a task may take, so that there is always an answer of our own.
local timeouts_s = { look = 2, reserve = 2, pay = 4, release = 1.5 }

local function ask(upstream, method, path, authorization, options)
  options = options or {}
  options.headers = options.headers or {}
  options.headers.Authorization = authorization
  options.timeout_s = options.timeout_s or timeouts_s.look
  local answer, why = http.call(upstream, method, path, options)
  if not answer then
    return nil, why
  elseif not answer.ok then
    return nil, http.why(answer)
  elseif type(answer.body) ~= "table" then
    return nil, fault.new("broken", upstream .. " answered without a body")
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
  return ask("users", "GET", "/api/v1/users/me", authorization)
end

function peers.item(sku, authorization)
  return ask("inventory", "GET", "/api/v1/inventory/" .. segment(sku), authorization)
end

function peers.reserve(order, authorization)
  local lines = {}
  for i, item in ipairs(order.items) do
    lines[i] = { sku = item.sku, quantity = item.quantity }
  end
  return ask("inventory", "POST", "/api/v1/inventory/reserve", authorization, {
    body = { order_id = order.id, items = lines },
    timeout_s = timeouts_s.reserve, repeatable = true,
  })
end

function peers.release(order, authorization)
  return ask("inventory", "POST", "/api/v1/inventory/release", authorization, {
    body = { order_id = order.id }, timeout_s = timeouts_s.release, repeatable = true,
  })
end

-- Not repeatable: it is the only request with its key, so what its answer says of this
-- request (`charged`) holds for the payment.
function peers.pay(order, payment, authorization)
  local done, why = ask("payments", "POST", "/api/v1/payments", authorization, {
    headers = { ["Idempotency-Key"] = order.id },
    body = {
      order_id = order.id, amount = order.total, currency = order.currency,
      method = payment.method, card = payment.card,
    },
    timeout_s = timeouts_s.pay,
  })
  for _, problem in ipairs(why and why.errors or {}) do
    problem.field = "payment." .. problem.field -- as our own caller knows it
    why.detail = problem.field .. " " .. problem.message
  end
  return done, why
end

return peers
