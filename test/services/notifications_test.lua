-- Notifications: an event is told once, however often it comes.
local json = require "json"
local test = require "test"
local notifications = test.service "oms/notifications"

local db = require "db"
local jwt = require "jwt"
local mail = require "mail"
local store = require "store"
local ws = require "ws"

local user = "00000000-0000-4000-8000-000000000001"

local function world()
  local mails, pushes, known = {}, {}, {}
  test.replace(db, "tx", function(fn) return fn {} end)
  test.replace(mail, "send", function(message) table.insert(mails, message) end)
  test.replace(store, "add", function(_, row)
    if not known[row.event_id] then
      known[row.event_id] = true
      return { id = row.id }
    end
  end)
  test.replace(ws, "broadcast", function(channel, text)
    table.insert(pushes, { channel = channel, message = json.decode(text) })
  end)
  return mails, pushes
end

local function event()
  return {
    event_id = "00000000-0000-4000-8000-0000000000e1",
    order_id = "00000000-0000-4000-8000-0000000000f1",
    customer_id = user, email = "demo@orrery.test",
    items = json.array { { sku = "SKU-0001", quantity = 2, unit_price = 1250 } },
    total = 2500, currency = "USD", status = "processing",
    created_at = "2026-11-20T11:00:00Z",
    more = "fields may come",
  }
end

local function deliver(body)
  notifications.consumers[1].handler { body = body }
end

test.case("an order is told by mail and on the screen", function()
  local mails, pushes = world()
  deliver(event())
  test.equal(mails[1].recipient, "demo@orrery.test")
  test.match(mails[1].body, "2 x SKU%-0001 at 12%.50 USD")
  test.match(mails[1].body, "Total: 25%.00 USD")
  test.equal(pushes[1].channel, "user:" .. user)
  test.equal({ pushes[1].message.type, pushes[1].message.order_id },
    { "order.created", event().order_id })
end)

test.case("the mail has a span of its own and is timed", function()
  local count = test.value "email_send_duration_seconds"
  mail.send { template = "order_created", recipient = "demo@orrery.test" }
  test.equal(test.span("mail.send").attributes, { template = "order_created" })
  test.equal(test.value "email_send_duration_seconds", count + 1)
end)

test.case("the same event again tells nobody", function()
  local mails, pushes = world()
  deliver(event())
  deliver(event())
  test.equal({ #mails, #pushes }, { 1, 1 })
end)

test.case("an event that makes no sense is set aside", function()
  world()
  local bad = event()
  bad.email = "nobody"
  test.fails(function() deliver(bad) end, "bad_input")
  test.fails(function() deliver(nil) end, "bad_input")
end)

test.case("a socket needs a token, in the header or in the query", function()
  test.replace(jwt, "secret", function() return "secret" end)
  local accept, token = notifications.sockets[1].accept, jwt.sign({ sub = user }, 60)
  local joined = { channels = { "user:" .. user } }
  local header = { authorization = "Bearer " .. token }
  test.equal(accept { query = { access_token = token }, headers = {} }, joined)
  test.equal(accept { query = {}, headers = header }, joined)
  test.equal(accept({ query = {}, headers = {} }).kind, "denied")
end)

test.case("a list goes on where the last page ended", function()
  local asked
  test.replace(store, "list", function(_, before, limit)
    asked = { before, limit }
    local rows = {}
    for i = 1, limit + 1 do
      rows[i] = { id = tostring(i), seq = 100 - i, user_id = user }
    end
    return rows
  end)
  local answer = test.call(notifications, "GET /api/v1/notifications", {
    user = { sub = user, role = "customer" }, query = { limit = "2", cursor = "100" },
  })
  test.equal(asked, { 100, 2 })
  test.equal({ #answer.body.items, answer.body.next_cursor }, { 2, "98" })
end)

test.case("a notification is shown to its owner only", function()
  test.replace(store, "find", function() return { id = "n", user_id = user } end)
  local path = "GET /api/v1/notifications/00000000-0000-4000-8000-00000000000c"
  test.equal(test.call(notifications, path, { user = { sub = user } }).status, 200)
  test.equal(test.call(notifications, path, { user = { sub = "other" } }).status, 404)
end)

return test.suite()
