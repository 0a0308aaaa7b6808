-- The acquirer: test cards do what the industry's test cards do, once per key.
local test = require "test"
local acquirer = test.service "oms/acquirer"

local db = require "db"
local task = require "task"

local function world()
  local rows, order = {}, {}
  test.replace(task, "sleep", function() table.insert(order, "wait") end)
  test.replace(db, "one", function(sql, ...)
    local a, b, c, d = ...
    if sql:find("^%s*insert") then
      table.insert(order, "write")
      if rows[b] then
        return nil
      end
      rows[b] = { id = a, outcome = c, code = d ~= db.null and d or nil }
      return rows[b]
    end
    return rows[a]
  end)
  return order
end

local function authorize(number, key)
  return test.call(acquirer, "POST /authorize", {
    headers = { ["Idempotency-Key"] = key or "k" },
    body = {
      amount = 100, currency = "USD", reference = "o1",
      card = {
        number = number, brand = "visa", exp_month = 1, exp_year = 2099, cvc = "123",
      },
    },
  })
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

test.case("the same key has one outcome", function()
  world()
  local first = authorize("4242424242424242")
  test.equal(authorize("4000000000000002").body, first.body)
end)

test.case("the books are written before the answer leaves", function()
  local order = world()
  authorize("4242424242424242")
  test.equal(order, { "write", "wait" })
end)

return test.suite()
