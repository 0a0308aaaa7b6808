-- Orders: everybody who works on one order, in every order of their steps.
--
-- The peers and the tables are models here, and every call to one of them is a step. Each
-- actor runs in a coroutine that stops before its next step; a schedule says who goes
-- on. All schedules of two actors are tried, and many of more. Time has no part in it:
-- recovery may begin at any moment, as if the request had stood still before.
local fault = require "fault"
local json = require "json"
local test = require "test"
local orders = test.service "oms/orders"

local cache = require "cache"
local db = require "db"
local outbox = require "outbox"
local peers = require "peers"
local random = require "random"
local recovery = require "recovery"
local store = require "store"
local task = require "task"
local trace = require "trace"
local undo = require "undo"

local me = "00000000-0000-4000-8000-000000000001"
local demo = { sub = me, role = "customer" }
local staff = { sub = "00000000-0000-4000-8000-000000000003", role = "operator" }
local payment_id = "00000000-0000-4000-8000-0000000000c1"
local hour = "2026-11-20T11:00:00Z"

-- The step: where another actor may come in between.
local function step()
  if coroutine.running() then
    coroutine.yield()
  end
end

-- What the models know of the one order.
local world

local function copy(row)
  local made = {}
  for name, value in pairs(row) do
    made[name] = value
  end
  return made
end

-- The row after a change; nil when it is not in the state that the change expects.
local function change(expected, changes)
  local row = world.row
  if not row or not expected(row) then
    return nil
  end
  for name, value in pairs(changes) do
    row[name] = value
  end
  row.version = row.version + 1
  return copy(row)
end

local function at(status)
  return function(row) return row.status == status end
end

-- A statement of its own is a step; one of a transaction is not: db.tx is.
local function statement(name, fn)
  test.replace(store, name, function(...)
    step()
    return fn(...)
  end)
end

local function replace_store()
  statement("by_key", function() return world.row and copy(world.row) end)
  statement("find", function() return world.row and copy(world.row) end)
  statement("add", function(order)
    world.row = copy(order)
    world.row.version = 0
    return change(at(nil), { status = "pending", created_at = hour, updated_at = hour })
  end)
  statement("owe", function(_, payment)
    return change(function(row)
      return row.status == "cancelled" and not row.payment_id
    end, { payment_id = payment, compensation = "refund_pending" })
  end)
  statement("refunded", function()
    return change(function(row) return row.compensation end, { compensation = false })
  end)
  statement("take_unfinished", function()
    local row = world.row
    return row and (row.status == "pending" or row.compensation) and { copy(row) } or {}
  end)
  test.replace(store, "lock", function() return world.row and copy(world.row) end)
  test.replace(store, "confirm", function(_, _, _, payment)
    return change(at "pending", { status = "processing", payment_id = payment })
  end)
  test.replace(store, "change", function(_, _, status, note)
    return change(function() return true end, {
      status = status, note = note or world.row.note,
    })
  end)
  test.replace(store, "cancel", function(_, _, how)
    local paid = how.payment_id or world.row.payment_id
    return change(at(how.from), {
      status = "cancelled", failure = how.failure, cancel_reason = how.reason,
      payment_id = paid, compensation = paid and "refund_pending", cancelled_at = hour,
    })
  end)
end

-- Payments: a charge is under way for a step, and then taken unless it was voided.
local function pay()
  step()
  if world.money == "voided" then
    return nil, fault.new("refused", "takes no payment", { charged = false })
  elseif world.declines then
    world.money = "declined"
    return nil, fault.new("refused", "declined", { status = 402, charged = false })
  end
  world.money = "open"
  step()
  world.money = "captured"
  step()
  if world.answer_lost then
    return nil, fault.new("uncertain", "no answer")
  end
  return { id = payment_id }
end

local function void()
  step()
  if world.money == "captured" then
    return { status = "captured", payment_id = payment_id, amount = 250, refunded = 0 }
  elseif world.money == "open" then
    return { status = "open" }
  elseif not world.money then
    world.money = "voided"
  end
  return { status = "none" }
end

local function refund()
  step()
  if world.money ~= "captured" then
    return nil, fault.new("refused", "there is nothing to give back")
  end
  world.refunds = (world.refunds or 0) + 1
  world.money = "refunded"
  step()
  return { status = "done", amount = 250 }
end

-- Inventory: held once per order, never again after it was cancelled.
local function reserve()
  step()
  if world.hold == "released" or not world.hold and world.no_stock then
    return nil, fault.new("refused", "not enough")
  end
  world.hold = "held"
  step()
  if world.reserve_lost then
    return nil, fault.new("uncertain", "no answer")
  end
  return { reservation_id = "00000000-0000-4000-8000-0000000000d1" }
end

local function release()
  step()
  if world.hold == "held" then
    world.hold = "released"
  end
  return { released = true }
end

local function replace_peers()
  test.replace(peers, "user", function()
    return { id = me, email = "demo@orrery.test" }
  end)
  test.replace(peers, "item", function(sku)
    return { sku = sku, unit_price = 250, currency = "USD" }
  end)
  test.replace(peers, "pay", pay)
  test.replace(peers, "void", void)
  test.replace(peers, "refund", refund)
  test.replace(peers, "reserve", reserve)
  test.replace(peers, "release", release)
  test.replace(peers, "payment", function() return { status = world.money } end)
end

local function replace_all()
  for _, name in ipairs { "drop", "put", "get" } do
    test.replace(cache, name, function() end)
  end
  for _, job in ipairs(orders.jobs) do
    test.replace(job, "wake", function() end)
  end
  -- In one coroutine: another task would not stop at its steps.
  test.replace(task, "all", function(fns)
    for _, fn in ipairs(fns) do
      fn()
    end
  end)
  test.replace(trace, "continue", function(_, _, fn) return fn() end)
  test.replace(db, "tx", function(fn)
    step()
    return fn {}
  end)
  test.replace(outbox, "add", function(_, key)
    world.events[key] = (world.events[key] or 0) + 1
  end)
  replace_store()
  replace_peers()
end

local function call(line, options)
  local answer = test.call(orders, line, options)
  table.insert(world.answers, { line:match("%u+"), answer })
  return answer
end

local actors = {}

function actors.place()
  call("POST /api/v1/orders", {
    user = demo, headers = { ["Idempotency-Key"] = "k" }, body = {
      items = { { sku = "SKU-0001", quantity = 1 } }, currency = "USD",
      payment = { method = "paypal", paypal = { email = "buyer@orrery.test" } },
    },
  })
end

function actors.recover()
  recovery.run()
end

function actors.delete()
  if world.row then
    call("DELETE /api/v1/orders/" .. world.row.id, { user = demo })
  end
end

function actors.ship()
  if world.row then
    call("PUT /api/v1/orders/" .. world.row.id, {
      user = staff, body = { status = "shipped", version = world.row.version },
    })
  end
end

function actors.note()
  if world.row then
    call("PUT /api/v1/orders/" .. world.row.id, {
      user = demo, body = { note = "ring twice", version = world.row.version },
    })
  end
end

function actors.hold_lost()
  if world.events["order.confirmed"] then
    step()
    undo.hold_lost({}, { order_id = world.row.id })
  end
end

-- Runs the actors as the choices say; past them, the first that can go on does. Gives for
-- each step which actors could have gone on. An actor in `dies` ends before that step.
local function run(names, choices, dies)
  local threads, taken, options, turn = {}, {}, {}, 0
  for i, name in ipairs(names) do
    threads[i], taken[i] = coroutine.create(actors[name]), 0
  end
  while true do
    local alive = {}
    for i, thread in ipairs(threads) do
      if coroutine.status(thread) ~= "dead" and taken[i] ~= dies[i] then
        table.insert(alive, i)
      end
    end
    if not alive[1] then
      return options
    end
    turn = turn + 1
    local choice = choices(turn, #alive)
    options[turn] = { #alive, choice }
    local chosen = alive[choice]
    taken[chosen] = taken[chosen] + 1
    local ok, why = coroutine.resume(threads[chosen])
    if not ok and not fault.is(why) then
      error(why, 0)
    end
  end
end

-- What inventory does with the event of a cancelled order; then recovery, until it is
-- done: both come in the end.
local function settle()
  for _ = 1, 5 do
    if world.money == "open" then
      world.money = "captured" -- what reconciliation found
    end
    recovery.run()
  end
  if world.events["order.cancelled"] then
    world.hold = "released"
  end
end

local function as_text()
  local answers = {}
  for i, answer in ipairs(world.answers) do
    answers[i] = ("%s %d %s"):format(answer[1], answer[2].status,
      answer[2].body and answer[2].body.kind or "")
  end
  return json.encode { answers = answers, events = world.events, row = world.row,
    money = world.money or "none", hold = world.hold or "none" }
end

-- What holds in the end, whatever happened.
local function judge()
  local row, events = world.row, world.events
  local function demand(holds, words)
    if not holds then
      error(words .. ": " .. as_text(), 0)
    end
  end
  if not row then
    return
  end
  local confirmed = events["order.confirmed"] or 0
  demand(row.status ~= "pending" and not row.compensation, "it did not settle")
  demand(confirmed <= 1 and confirmed == (events["order.created"] or 0), "told twice")
  demand((world.refunds or 0) <= 1, "given back twice")
  if row.status == "cancelled" then
    demand(events["order.cancelled"] == 1, "cancelled, and not told once")
    demand(world.money ~= "captured" and world.money ~= "open", "money is lost")
    demand(world.hold ~= "held", "stock is lost")
  else
    demand(confirmed == 1 and not events["order.cancelled"], "alive, and told otherwise")
    demand(world.money == "captured", "alive, and not paid")
    demand(world.hold == "held", "alive, without its stock")
  end
  for _, pair in ipairs(world.answers) do
    local what, answer = pair[1], pair[2]
    if what == "POST" and answer.status == 201 then
      demand(confirmed == 1, "promised, and not confirmed")
    elseif what == "POST" and answer.body.kind ~= "uncertain" then
      demand(row.status == "cancelled" and confirmed == 0, "refused, and confirmed")
    elseif what == "POST" then
      demand(answer.body.order_id == row.id, "uncertain, without its id")
    elseif what == "DELETE" and answer.status == 200 then
      demand(row.status == "cancelled", "its cancelling was promised")
    elseif answer.status == 200 and answer.body.status == "shipped" then
      demand(row.status == "shipped", "its shipping was promised")
    end
  end
end

-- One world, from its beginning to its end.
local function live(names, facts, choices, dies)
  world = { events = {}, answers = {} }
  for name, value in pairs(facts()) do
    world[name] = value
  end
  local options = run(names, choices, dies or {})
  settle()
  judge()
  task.sleep(0) -- a new budget of CPU time
  return options
end

-- Every schedule: the last choice that has an alternative is changed, until none has.
local function every_schedule(names, facts, dies)
  local path, count = {}, 0
  repeat
    local options = live(names, facts, function(turn) return path[turn] or 1 end, dies)
    count = count + 1
    path = {}
    local last = #options
    while last > 0 and options[last][1] == options[last][2] do
      last = last - 1
    end
    for turn = 1, last do
      path[turn] = options[turn][2]
    end
    if last > 0 then
      path[last] = path[last] + 1
    end
  until last == 0
  return count
end

local circumstances = {
  { "all goes well", function() return {} end },
  { "the card is declined", function() return { declines = true } end },
  { "there is no stock", function() return { no_stock = true } end },
  { "payments' answer is lost", function() return { answer_lost = true } end },
  { "inventory's answer is lost", function() return { reserve_lost = true } end },
}

for _, circumstance in ipairs(circumstances) do
  local words, facts = circumstance[1], circumstance[2]

  test.case("a request and a recovery, in every order, when " .. words, function()
    replace_all()
    local count = every_schedule({ "place", "recover" }, facts)
    test.equal(count > 50, true, "schedules: " .. count)
  end)

  test.case("a request that dies before any step is settled, when " .. words, function()
    replace_all()
    for dies = 1, 12 do
      live({ "place", "recover" }, facts, function() return 1 end, { dies })
    end
  end)

  test.case("many at one order, in many orders, when " .. words, function()
    replace_all()
    for _ = 1, 400 do
      live({ "place", "recover", "recover", "delete", "hold_lost", "note", "ship" },
        facts, function(_, alive) return random.integer(1, alive) end,
        { random.integer(1, 30) })
    end
  end)
end

-- An order that was confirmed, with all that belongs to it.
local function confirmed()
  return {
    money = "captured", hold = "held",
    events = { ["order.created"] = 1, ["order.confirmed"] = 1 },
    row = {
      id = "00000000-0000-4000-8000-0000000000b1", customer_id = me,
      email = "demo@orrery.test", status = "processing", version = 2, total = 250,
      currency = "USD", method = "paypal", payment_id = payment_id,
      items = json.array { { sku = "SKU-0001", quantity = 1, unit_price = 250 } },
      created_at = hour, updated_at = hour,
    },
  }
end

test.case("any two who meet a confirmed order, in every order", function()
  replace_all()
  local names = { "delete", "ship", "hold_lost", "recover", "note" }
  for i, first in ipairs(names) do
    for j = i, #names do
      every_schedule({ first, names[j] }, confirmed)
    end
  end
end)

test.case("any three who meet a confirmed order, in many orders", function()
  replace_all()
  local names = { "delete", "ship", "hold_lost", "recover", "note" }
  for _ = 1, 1000 do
    local three = {}
    for i = 1, 3 do
      three[i] = names[random.integer(1, #names)]
    end
    live(three, confirmed, function(_, alive) return random.integer(1, alive) end,
      { random.integer(1, 15) })
  end
end)

return test.suite()
