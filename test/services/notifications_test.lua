-- Notifications: an event is told once, however often it comes, by what its customer
-- wants; what could not be sent is sent later.
local json = require "json"
local test = require "test"
local notifications = test.service "oms/notifications"

local carrier = require "carrier"
local db = require "db"
local fault = require "fault"
local jwt = require "jwt"
local leader = require "leader"
local mail = require "mail"
local messages = require "messages"
local queue = require "queue"
local random = require "random"
local rate = require "rate"
local sender = require "sender"
local sms = require "sms"
local store = require "store"
local task = require "task"
local trace = require "trace"
local ws = require "ws"

local user = "00000000-0000-4000-8000-000000000001"
local other = "00000000-0000-4000-8000-000000000002"
local staff_id = "00000000-0000-0000-0000-000000000000"
local phone = "+15550100123"
local now = "2026-11-20T11:00:00Z"

local customer = { sub = user, role = "customer" }
local operator = { sub = other, role = "operator" }
local service = { sub = "00000000-0000-4000-8000-00000000000a", role = "service",
                  name = "orders" }

-- A database, a carrier and a limit in memory. `world.rows` are the notifications,
-- `arrived` what the carrier has, `pushes` what went to the screens.
local function make_world()
  local world = { rows = {}, arrived = {}, pushes = {}, preferences = {}, places = 1000 }
  local function by_id(id)
    for _, row in ipairs(world.rows) do
      if row.id == id then return row end
    end
  end
  test.replace(db, "tx", function(fn)
    world.in_tx = true
    local result, why = fn {}
    world.in_tx = false
    return result, why
  end)
  test.replace(store, "add", function(_, new, held_s)
    for _, row in ipairs(world.rows) do
      if new.event_id and row.event_id == new.event_id and row.type == new.type
        or new.requested_by and row.requested_by == new.requested_by
        and row.idempotency_key == new.idempotency_key then
        return nil
      end
    end
    local row = { seq = #world.rows + 1, attempts = 0, created_at = now, held_s = held_s }
    for name, value in pairs(new) do row[name] = value end
    table.insert(world.rows, row)
    return row
  end)
  test.replace(store, "asked", function(requested_by, key)
    for _, row in ipairs(world.rows) do
      if row.requested_by == requested_by and row.idempotency_key == key then
        return row
      end
    end
  end)
  local function settle(status)
    return function(id, attempts)
      local row = by_id(id)
      if row.status ~= "queued" or attempts and row.attempts ~= attempts then
        return nil
      end
      row.status, row.attempts = status, row.attempts + 1
      return { id = id }
    end
  end
  local sent, postpone = settle "sent", settle "queued"
  test.replace(store, "sent", function(id) return sent(id) end)
  test.replace(store, "give_up", settle "failed")
  test.replace(store, "postpone", function(id, attempts, delay_s)
    by_id(id).delay_s = delay_s
    return postpone(id, attempts)
  end)
  test.replace(store, "preferences", function(id) return world.preferences[id] end)
  test.replace(rate, "take", function()
    world.places = world.places - 1
    if world.places >= 0 then return true end
    return false, 7
  end)
  test.replace(carrier, "deliver", function(channel, message)
    if world.in_tx then error("a transaction is open while a message is sent") end
    if world.failing then fault.raise("unavailable", "the carrier is down") end
    world.arrived[message.id] = channel
    table.insert(world.arrived, message)
  end)
  test.replace(ws, "push", function(channel, message)
    if world.in_tx then error("a transaction is open while something is pushed") end
    table.insert(world.pushes, { channel = channel, message = message })
  end)
  return world
end

local function event(more)
  local made = {
    event_id = "00000000-0000-4000-8000-0000000000e1",
    order_id = "00000000-0000-4000-8000-0000000000f1",
    customer_id = user, email = "demo@orrery.test",
    items = json.array { { sku = "SKU-0001", quantity = 2, unit_price = 1250 } },
    total = 2500, currency = "USD", status = "processing",
    created_at = now,
    more = "fields may come",
  }
  for name, value in pairs(more or {}) do
    made[name] = value
  end
  return made
end

local function deliver(body, key)
  key = key or "order.created"
  for _, consumer in ipairs(notifications.consumers) do
    for _, bound in ipairs(consumer.bind) do
      if bound == key then
        return consumer.handler { body = body, routing_key = key, queue = consumer.queue }
      end
    end
  end
  error("nobody listens to " .. key)
end

local function settled(type, status)
  return test.value("notifications_sent_total", { type, status })
end

-- Telling of orders -------------------------------------------------------------------

test.case("an order is told by mail and on the screen", function()
  local world, before = make_world(), settled("email", "sent")
  deliver(event())
  test.equal(#world.arrived, 1)
  test.equal(world.arrived[1].recipient, "demo@orrery.test")
  test.match(world.arrived[1].body, "2 x SKU%-0001 at 12%.50 USD")
  test.match(world.arrived[1].body, "Total: 25%.00 USD")
  test.equal({ world.rows[1].status, world.rows[1].type }, { "sent", "email" })
  test.equal(settled("email", "sent"), before + 1)
  test.equal(world.pushes, { {
    channel = "user:" .. user,
    message = {
      type = "order.created", order_id = event().order_id, status = "processing",
      total = 2500, currency = "USD", created_at = now,
      notification_id = world.rows[1].id,
    },
  } })
end)

test.case("the same event again tells nobody", function()
  local world = make_world()
  deliver(event())
  deliver(event())
  test.equal({ #world.rows, #world.arrived, #world.pushes }, { 1, 1, 1 })
end)

test.case("each step of an order has its words", function()
  local world = make_world()
  for number, step in ipairs {
    { "order.shipped", "is on its way" }, { "order.delivered", "has arrived" },
    { "order.cancelled", "was cancelled" },
  } do
    local kind, words = step[1], step[2]
    deliver(event { event_id = random.uuid(), previous_status = "processing" }, kind)
    test.match(world.arrived[number].subject, words)
    test.equal(world.pushes[number].message.type, kind)
    test.equal(world.rows[number].template, (kind:gsub("%.", "_")))
  end
  test.match(world.arrived[3].body, "was cancelled: on request")
end)

test.case("a cancellation says why", function()
  local world = make_world()
  deliver(event { previous_status = "processing", reason = "out of stock" },
    "order.cancelled")
  test.match(world.arrived[1].body, "was cancelled: out of stock%.")
  test.equal(world.pushes[1].message.reason, "out of stock")
end)

test.case("an order that was never more than pending ends in silence", function()
  local world = make_world()
  deliver(event { previous_status = "pending" }, "order.cancelled")
  test.equal({ #world.rows, #world.pushes }, { 0, 0 })
end)

test.case("an event that makes no sense is set aside", function()
  make_world()
  for _, key in ipairs { "order.created", "order.shipped", "inventory.low_stock" } do
    local why = test.fails(function() deliver(event { event_id = "1" }, key) end,
      "bad_input")
    test.match(why.detail, key .. ": ")
    test.fails(function() deliver(nil, key) end, "bad_input")
  end
end)

test.case("low stock is told to the staff, by mail and on their screens", function()
  local world = make_world()
  local low = {
    event_id = event().event_id, sku = "SKU-0001", name = "Lamp", available = 3,
    threshold = 10,
  }
  deliver(low, "inventory.low_stock")
  deliver(low, "inventory.low_stock")
  test.equal(#world.arrived, 1)
  test.equal({ world.arrived[1].recipient, world.arrived[1].subject },
    { "stock@orrery.test", "Low stock: SKU-0001" })
  test.match(world.arrived[1].body, "3 left, the threshold is 10")
  test.equal({ world.rows[1].user_id, world.rows[1].order_id }, { staff_id })
  test.equal(#world.pushes, 1)
  test.equal(world.pushes[1].channel, "staff")
  test.equal(world.pushes[1].message.sku, "SKU-0001")
end)

-- Preferences -------------------------------------------------------------------------

test.case("who wants no mail has it on his screen and in his list only", function()
  local world, before = make_world(), settled("email", "suppressed")
  world.preferences[user] = { email = false, sms = false, version = 2 }
  deliver(event())
  test.equal({ #world.arrived, #world.pushes }, { 0, 1 })
  test.equal(world.rows[1].status, "suppressed")
  test.equal(settled("email", "suppressed"), before + 1)
end)

test.case("who wants text messages gets one besides", function()
  local world = make_world()
  world.preferences[user] = { email = true, sms = true, phone = phone, version = 2 }
  deliver(event())
  deliver(event())
  test.equal(#world.rows, 2)
  local text = world.rows[2]
  test.equal({ text.type, text.status, text.recipient, text.subject },
    { "sms", "sent", phone })
  test.match(text.body, "order .*, 25%.00 USD")
  test.equal(world.arrived[text.id], "sms")
end)

test.case("text messages beyond the limit are suppressed, mails are not", function()
  local world, before = make_world(), settled("sms", "suppressed")
  world.preferences[user] = { email = true, sms = true, phone = phone, version = 2 }
  world.places = 1
  for number = 1, 2 do
    deliver(event { event_id = random.uuid() })
    test.equal(world.rows[number * 2 - 1].status, "sent")
    test.equal(world.rows[number * 2].status, number == 1 and "sent" or "suppressed")
  end
  test.equal(settled("sms", "suppressed"), before + 1)
end)

test.case("who never said what he wants gets mail", function()
  make_world()
  local answer = test.call(notifications, "GET /api/v1/notifications/preferences",
    { user = customer })
  test.equal({ answer.status, answer.body, answer.headers.ETag },
    { 200, { email = true, sms = false, version = 1 }, '"1"' })
  answer = test.call(notifications, "GET /api/v1/notifications/preferences",
    { user = customer, headers = { ["If-None-Match"] = '"1"' } })
  test.equal({ answer.status, answer.body }, { 304 })
end)

local function put(body, headers, who)
  return test.call(notifications, "PUT /api/v1/notifications/preferences",
    { user = who or customer, body = body, headers = headers })
end

test.case("preferences change for who has seen the last version", function()
  test.replace(store, "prefer", function(id, wanted, seen)
    test.equal({ id, wanted.phone }, { user, phone })
    return seen == 3 and { email = true, sms = true, phone = phone, version = 4 } or nil
  end)
  local wanted = { email = true, sms = true, phone = phone }
  local answer = put(wanted, { ["If-Match"] = '"3"' })
  test.equal({ answer.status, answer.body.version, answer.headers.ETag },
    { 200, 4, '"4"' })
  test.equal(put(wanted, { ["If-Match"] = '"2"' }).status, 412)
  test.equal(put(wanted).status, 422)
  wanted.version = 2
  test.equal(put(wanted).status, 409)
  wanted.version = 3
  test.equal(put(wanted).status, 200)
end)

test.case("text messages need a phone, and a real one", function()
  local answer = put { email = true, sms = true, version = 1 }
  test.equal({ answer.status, answer.body.errors[1].field }, { 422, "phone" })
  for _, wrong in ipairs {
    "5550100", "+0123456789", "+1555010012345678", "+1 555 0100", "+15550100\n",
  } do
    answer = put { email = true, sms = true, phone = wrong, version = 1 }
    test.equal({ answer.status, answer.body.errors[1].field }, { 422, "phone" }, wrong)
  end
end)

test.case("services have no preferences", function()
  test.equal(put({ email = true, sms = false, version = 1 }, nil, service).status, 403)
  test.equal(test.call(notifications, "GET /api/v1/notifications/preferences",
    { user = service }).status, 403)
end)

-- Sending -----------------------------------------------------------------------------

test.case("a mail has a span of its own, is timed and arrives", function()
  local count, kept = test.value "email_send_duration_seconds", {}
  local texts = test.value "sms_send_duration_seconds" or 0
  test.replace(store, "deliver", function(channel, message)
    table.insert(kept, { channel, message.id })
  end)
  test.equal({ mail.send { id = "m", template = "order_created" } }, { true })
  test.equal(test.span("mail.send").attributes, { template = "order_created" })
  test.equal(test.value "email_send_duration_seconds", count + 1)
  test.equal({ sms.send { id = "s", template = "order_created" } }, { true })
  test.equal(test.value "sms_send_duration_seconds", texts + 1)
  test.equal(kept, { { "email", "m" }, { "sms", "s" } })
end)

test.case("the carrier takes its time, and is given up when it takes too much", function()
  local slept
  test.replace(store, "deliver", function() end)
  test.replace(task, "sleep", function(seconds) slept = seconds end)
  carrier.deliver("email", { id = "m" }, { latency_s = 0.9, failure_percent = 0 })
  test.equal(slept >= 0.3 and slept <= 5, true)
  test.replace(random, "duration", function(median) return median * 6 end)
  test.fails(function()
    carrier.deliver("email", { id = "m" }, { latency_s = 1, failure_percent = 0 })
  end, "timeout")
  test.equal(slept, 5)
end)

test.case("a carrier fails as often as it is told to", function()
  test.replace(task, "sleep", function() end)
  local delivered = 0
  test.replace(store, "deliver", function() delivered = delivered + 1 end)
  test.replace(random, "number", function() return 0.29 end)
  test.fails(function()
    carrier.deliver("sms", { id = "s" }, { latency_s = 0, failure_percent = 30 })
  end, "unavailable")
  test.equal(delivered, 0)
  test.replace(random, "number", function() return 0.30 end)
  carrier.deliver("sms", { id = "s" }, { latency_s = 0, failure_percent = 30 })
  test.equal(delivered, 1)
end)

test.case("a mail that fails does not have its event told again", function()
  local world = make_world()
  world.failing = true
  deliver(event())
  test.equal({ world.rows[1].status, world.rows[1].attempts }, { "queued", 1 })
  test.equal(#world.pushes, 1)
  local logs = test.logs()
  test.equal({ logs[1].severity, logs[1].attributes.kind }, { "warn", "unavailable" })
end)

test.case("an attempt that fails puts the next one off, longer each time", function()
  local world = make_world()
  world.failing = true
  deliver(event())
  local row = world.rows[1]
  for number = 1, 3 do
    local full = 2 * 2 ^ (number - 1)
    test.equal(row.delay_s >= full / 2 and row.delay_s <= full, true, number)
    sender.attempt(row)
  end
  test.equal({ row.status, row.attempts }, { "queued", 4 })
end)

test.case("delays differ, so that what failed together comes back apart", function()
  local world = make_world()
  world.failing = true
  for _ = 1, 8 do
    deliver(event { event_id = random.uuid() })
  end
  local seen, kinds = {}, 0
  for _, row in ipairs(world.rows) do
    kinds = kinds + (seen[row.delay_s] and 0 or 1)
    seen[row.delay_s] = true
  end
  test.equal(kinds > 1, true)
end)

test.case("after five attempts a notification has failed", function()
  local world, before = make_world(), settled("email", "failed")
  world.failing = true
  deliver(event())
  local row = world.rows[1]
  for _ = 2, 5 do
    test.equal(row.status, "queued")
    sender.attempt(row)
  end
  test.equal({ row.status, row.attempts }, { "failed", 5 })
  test.equal(settled("email", "failed"), before + 1)
end)

test.case("what is due is sent in the trace it came from; retries are counted", function()
  local world, asked = make_world(), {}
  local parent = "00-11111111111111111111111111111111-2222222222222222-01"
  world.rows = {
    { id = "1", type = "email", status = "queued", attempts = 0, template = "plain" },
    { id = "2", type = "sms", status = "queued", attempts = 2, template = "plain",
      traceparent = parent },
  }
  test.replace(store, "due", function(limit, held_s)
    table.insert(asked, { limit, held_s })
    return #asked == 1 and world.rows or {}
  end)
  local continued = {}
  test.replace(trace, "continue", function(traceparent, _, fn)
    table.insert(continued, traceparent or "none")
    return fn()
  end)
  local emails = test.value("notifications_retries_total", { "email" })
  local texts = test.value("notifications_retries_total", { "sms" })
  sender.run()
  table.sort(continued)
  test.equal(continued, { parent, "none" })
  test.equal({ world.rows[1].status, world.rows[2].status }, { "sent", "sent" })
  test.equal(test.value("notifications_retries_total", { "email" }), emails)
  test.equal(test.value("notifications_retries_total", { "sms" }), texts + 1)
  test.equal(asked, { { 16, sender.held_s } })
end)

test.case("the sender goes on while batches are full, and stops in time", function()
  make_world()
  local asked, left = 0, 30
  local rows = {}
  for i = 1, 16 do
    rows[i] = { id = tostring(i), type = "email", attempts = 0, template = "plain" }
  end
  test.replace(store, "due", function()
    asked = asked + 1
    return asked <= 2 and rows or { rows[1] }
  end)
  test.replace(store, "sent", function() end)
  test.replace(task, "deadline", function() return left end)
  sender.run()
  test.equal(asked, 3)
  asked, left = 0, 1
  sender.run()
  test.equal(asked, 1)
end)

test.case("what somebody else settled is not counted twice", function()
  local world, before = make_world(), settled("email", "sent")
  deliver(event())
  sender.attempt(world.rows[1]) -- slow, and overtaken
  test.equal(settled("email", "sent"), before + 1)
end)

-- Asking for one ----------------------------------------------------------------------

local function send(body, options)
  options = options or {}
  return test.call(notifications, "POST /api/v1/notifications/send", {
    user = options.user or operator, body = body,
    headers = { ["Idempotency-Key"] = options.key or "k1" },
  })
end

-- The members are the changes; false takes one away.
local function wish(more)
  local made = {
    user_id = user, channel = "email", recipient = "demo@orrery.test",
    subject = "Hello\r\nBcc: all", body = "How are you?",
  }
  for name, value in pairs(more or {}) do
    made[name] = value or nil
  end
  return made
end

test.case("staff has a mail sent", function()
  local world = make_world()
  local woken = 0
  test.replace(store, "due", function() return {} end)
  for _, job in ipairs(notifications.jobs) do
    if job.name == "sender" then
      test.replace(job, "wake", function() woken = woken + 1 end)
    end
  end
  local answer = send(wish())
  test.equal(answer.status, 202)
  test.equal({ answer.body.status, answer.body.template, answer.body.user_id },
    { "queued", "plain", user })
  test.equal(answer.body.subject, "Hello Bcc: all")
  test.equal(answer.headers.Location, "/api/v1/notifications/" .. answer.body.id)
  test.equal({ world.rows[1].held_s, woken }, { 0, 1 }) -- the sender's, and at once
end)

local function quiet_world()
  local world = make_world()
  for _, job in ipairs(notifications.jobs) do
    if job.name == "sender" then
      test.replace(job, "wake", function() end)
    end
  end
  return world
end

test.case("the same key asks for one notification", function()
  local world = quiet_world()
  local first = send(wish())
  world.places = 0 -- a repetition takes no place
  local again = send(wish())
  test.equal({ again.status, again.body }, { 202, first.body })
  test.equal(#world.rows, 1)
  local differs = send(wish { body = "Something else" })
  test.equal({ differs.status, differs.body.errors[1].field }, { 422, "Idempotency-Key" })
end)

test.case("two at once with the same key get one notification", function()
  local world = quiet_world()
  local looked = 0
  local find = store.asked
  test.replace(store, "asked", function(...)
    looked = looked + 1
    if looked > 2 then return find(...) end -- neither saw the other's
  end)
  local first, second = send(wish()), send(wish())
  test.equal({ second.status, second.body.id }, { 202, first.body.id })
  test.equal(#world.rows, 1)
end)

test.case("keys of different callers do not meet", function()
  local world = quiet_world()
  local payments = { sub = service.sub, role = "service", name = "payments" }
  for _, who in ipairs { operator, service, payments } do
    test.equal(send(wish(), { user = who }).status, 202)
  end
  test.equal(#world.rows, 3)
end)

test.case("a user gets only so many a minute", function()
  local world = quiet_world()
  world.places = 2
  test.equal(send(wish(), { key = "a" }).status, 202)
  test.equal(send(wish(), { key = "b" }).status, 202)
  local answer = send(wish(), { key = "c" })
  test.equal({ answer.status, answer.body.kind, answer.headers["Retry-After"] },
    { 429, "limit", "7" })
  test.equal(#world.rows, 2)
end)

test.case("a template is filled with values", function()
  local world = quiet_world()
  local asked = wish {
    channel = "sms", recipient = phone, subject = false, body = false,
    template = "order_shipped", values = { order_id = "o-1" },
  }
  local answer = send(asked)
  test.equal(answer.body.body, "Your order o-1 is on its way.")
  test.equal({ answer.body.type, answer.body.subject }, { "sms" })
  asked.values = { order_id = "{{lines}}", lines = "of the mail" }
  test.equal(send(asked, { key = "k2" }).body.body,
    "Your order {{lines}} is on its way.")
  test.equal(#world.rows, 2)
end)

-- What is wrong, as "field field".
local function fields(answer)
  local names = {}
  for i, problem in ipairs(answer.body.errors or {}) do
    names[i] = problem.field
  end
  return answer.status .. ": " .. table.concat(names, " ")
end

test.case("parts that do not fit together are named", function()
  quiet_world()
  local function differs(more, expected)
    test.equal(fields(send(wish(more))), expected, json.encode(more))
  end
  differs({ recipient = phone }, "422: recipient")
  differs({ channel = "sms" }, "422: recipient subject")
  differs({ body = false }, "422: body")
  differs({ subject = false }, "422: subject")
  differs({ values = { a = "b" } }, "422: values")
  differs({ template = "low_stock" },
    "422: body subject values.available values.name values.sku values.threshold")
  differs({ template = "plain", subject = false, body = false,
            values = { subject = "s", body = "b", else_ = "x" } }, "422: values.else_")
  differs({ channel = "sms", recipient = phone, subject = false,
            body = ("x"):rep(481) }, "422: body")
  differs({ template = "nonsense" }, "422: template")
  differs({ channel = "fax" }, "422: channel")
end)

test.case("a key has to be there", function()
  quiet_world()
  local answer = test.call(notifications, "POST /api/v1/notifications/send",
    { user = operator, body = wish() })
  test.equal(fields(answer), "422: Idempotency-Key")
end)

test.case("customers send nothing", function()
  test.equal(send(wish(), { user = customer }).status, 403)
end)

test.case("all templates can be filled from what they are used for", function()
  local order = messages.of_order(event())
  for _, kind in ipairs { "created", "shipped", "delivered", "cancelled" } do
    for _, type in ipairs { "email", "sms" } do
      test.match(messages.compose("order_" .. kind, type, order).body, "%w")
    end
  end
  test.equal(#messages.names, 6)
end)

-- Reading -----------------------------------------------------------------------------

local function stored(id, owner)
  return {
    id = id, seq = 1, user_id = owner, type = "email", template = "plain",
    recipient = "x", subject = "s", body = "b", status = "sent", attempts = 1,
    created_at = now, sent_at = now, request_hash = "a secret of ours",
  }
end

test.case("a list goes on where the last page ended", function()
  local asked
  test.replace(store, "list", function(_, filter, before, limit)
    asked = { filter.type, filter.status, filter.order_id, before or "first", limit }
    local rows = {}
    for i = 1, limit do
      rows[i] = stored(random.uuid(), user)
      rows[i].seq = 100 - i
    end
    return rows
  end)
  local query = { limit = "2", type = "email", status = "sent", order_id = "o-1" }
  local answer = test.call(notifications, "GET /api/v1/notifications",
    { user = customer, query = query })
  test.equal(asked, { "email", "sent", "o-1", "first", 3 })
  test.equal(#answer.body.items, 2)
  query.cursor = answer.body.next_cursor
  test.call(notifications, "GET /api/v1/notifications",
    { user = customer, query = query })
  test.equal(asked, { "email", "sent", "o-1", 98, 3 })
  query.cursor = "nonsense"
  test.equal(fields(test.call(notifications, "GET /api/v1/notifications",
    { user = customer, query = query })), "422: cursor")
end)

test.case("customers list their own, staff and services anybody's", function()
  local whose
  test.replace(store, "list", function(id)
    whose = id
    return {}
  end)
  local function list(who, id)
    whose = nil
    return test.call(notifications, "GET /api/v1/notifications",
      { user = who, query = { user_id = id } }).status
  end
  test.equal({ list(customer), whose }, { 200, user })
  test.equal({ list(customer, user), whose }, { 200, user })
  test.equal({ list(customer, other), whose }, { 403 })
  test.equal({ list(operator), whose }, { 200, other })
  test.equal({ list(operator, user), whose }, { 200, user })
  test.equal({ list(service, staff_id), whose }, { 200, staff_id })
  test.equal({ list({ sub = user }, other), whose }, { 403 }) -- no role is no staff
  test.equal(test.call(notifications, "GET /api/v1/notifications").status, 401)
end)

test.case("a notification is shown to its owner, to staff and to services", function()
  local id = "00000000-0000-4000-8000-00000000000c"
  test.replace(store, "find", function() return stored(id, user) end)
  local function status(who)
    return test.call(notifications, "GET /api/v1/notifications/" .. id,
      { user = who }).status
  end
  test.equal({ status(customer), status(operator), status(service) }, { 200, 200, 200 })
  test.equal(status { sub = other, role = "customer" }, 404)
  test.replace(store, "find", function() return nil end)
  test.equal(status(operator), 404)
end)

-- The screen --------------------------------------------------------------------------

local socket = notifications.sockets[1]

-- A connection that notes what is done with it.
local function connect(id)
  local conn = { id = id, sent = {}, state = { user_id = user } }
  function conn:send(message) table.insert(self.sent, message) end
  function conn:close(code) self.code = code end
  return conn
end

local function run_job(name)
  for _, job in ipairs(notifications.jobs) do
    if job.name == name then
      return job.handler()
    end
  end
  error("no job " .. name)
end

test.case("a socket needs a token, in the header or in the query", function()
  test.replace(jwt, "secret", function() return "secret" end)
  local token = jwt.sign({ sub = user, role = "customer" }, 60)
  local header = { authorization = "Bearer " .. token }
  for _, req in ipairs {
    { query = { access_token = token }, headers = {} },
    { query = {}, headers = header },
  } do
    local accepted = socket.accept(req)
    test.equal(accepted.channels, { "user:" .. user })
    test.equal(accepted.state.user_id, user)
    test.equal(accepted.expires_at, jwt.verify(token).exp, "it ends with the token")
  end
  test.equal(socket.accept({ query = {}, headers = {} }).kind, "denied")
  test.equal(socket.accept({ query = { access_token = "x" }, headers = header }).kind,
    "denied")
end)

test.case("staff hears what concerns the staff, and services are refused", function()
  test.replace(jwt, "secret", function() return "secret" end)
  local function accept(claims)
    local token = jwt.sign(claims, 60)
    return socket.accept { query = { access_token = token }, headers = {} }
  end
  for _, role in ipairs { "operator", "admin" } do
    test.equal(accept({ sub = other, role = role }).channels,
      { "user:" .. other, "staff" })
  end
  local why = accept(service)
  test.equal({ why.kind, fault.status(why) }, { "denied", 403 })
end)

test.case("a client is greeted, counted, and its ping answered", function()
  local before = test.value "websocket_connections_current" or 0
  local conn = connect(1)
  socket.open(conn)
  test.equal(test.value "websocket_connections_current", before + 1)
  socket.message(conn, '{"type":"ping"}')
  for _, text in ipairs { "", "ping", "7", "[]", '{"type":"pong"}', '{"type":{}}' } do
    socket.message(conn, text)
    test.equal(conn.sent[#conn.sent].type, "error", text)
  end
  test.equal({ conn.sent[1], conn.sent[2] },
    { { type = "hello", user_id = user }, { type = "pong" } })
  test.equal({ #conn.sent, conn.code }, { 8 })
  socket.close(conn, 1000)
  test.equal(test.value "websocket_connections_current", before)
end)

-- Jobs --------------------------------------------------------------------------------

test.case("what waits is the messages of all queues and what is not settled", function()
  local depths = {}
  for i, consumer in ipairs(notifications.consumers) do
    depths[consumer.queue] = i * 10
  end
  test.replace(store, "queued", function() return 4 end)
  test.replace(queue, "depth", function(name) return depths[name] end)
  run_job "queue_size"
  test.equal(test.value "notification_queue_size", 64)
  test.replace(queue, "depth", function()
    return nil, fault.new("unavailable", "the broker is away")
  end)
  test.fails(function() run_job "queue_size" end, "unavailable")
end)

test.case("one replica has the mock world forget", function()
  local days
  test.replace(store, "forget", function(n) days = n end)
  test.replace(db, "one", function() return { run = 1 } end)
  test.replace(db, "query", function() return {} end)
  run_job "forget"
  test.equal(days, 30)
  test.equal(type(leader.every), "function")
end)

return test.suite()
