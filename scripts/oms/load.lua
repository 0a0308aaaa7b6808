-- An experiment: places orders, some side by side, and tells how long they took.
--
--   export ORRERY_UPSTREAM_ORDERS=http://127.0.0.1:8001
--   export ORRERY_UPSTREAM_USERS=http://127.0.0.1:8004
--   orrery run scripts/oms/load.lua 200 16     200 orders, 16 side by side
local clock = require "clock"
local http = require "http"
local random = require "random"
local task = require "task"

local count, width = ...
count, width = tonumber(count) or 100, tonumber(width) or 8

local login = assert(http.call("users", "POST", "/api/v1/users/login", {
  body = { email = "demo@orrery.test", password = "demo-password" },
}))
local authorization = "Bearer " .. login.body.access_token
local card = { number = "4242424242424242", exp_month = 12, exp_year = 2035, cvc = "123" }

local function place_order()
  return http.call("orders", "POST", "/api/v1/orders", {
    headers = { Authorization = authorization, ["Idempotency-Key"] = random.uuid() },
    body = {
      items = { { sku = ("SKU-%04d"):format(random.integer(1, 100)), quantity = 1 } },
      currency = "USD",
      payment = { method = "card", card = card },
    },
    timeout_s = 10,
    repeatable = true,
  })
end

local left, seconds, outcomes = count, {}, {}

local function customer()
  while left > 0 do
    left = left - 1
    local began = clock.mono()
    local answer, why = place_order()
    local outcome = answer and answer.status or why.kind
    seconds[#seconds + 1] = clock.mono() - began
    outcomes[outcome] = (outcomes[outcome] or 0) + 1
  end
end

local customers = {}
for i = 1, math.min(width, count) do
  customers[i] = customer
end
local began = clock.mono()
task.all(customers)
print(("%d orders, %.0f a second"):format(count, count / (clock.mono() - began)))
for outcome, times in pairs(outcomes) do
  print(("%-12s %d"):format(outcome, times))
end
table.sort(seconds)
for _, percent in ipairs { 50, 90, 99, 100 } do
  local ms = seconds[math.ceil(count * percent / 100)] * 1000
  print(("%3d %% within %.1f ms"):format(percent, ms))
end
