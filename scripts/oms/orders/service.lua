-- Orders: takes an order at most once, sees it through stock and payment, announces it,
-- and takes it back.
local app = require "app"
local cache = require "cache"
local clock = require "clock"
local fault = require "fault"
local flow = require "flow"
local inbox = require "inbox"
local leader = require "leader"
local metrics = require "metrics"
local moves = require "moves"
local outbox = require "outbox"
local page = require "page"
local recovery = require "recovery"
local search = require "search"
local shapes = require "shapes"
local store = require "store"
local undo = require "undo"
local version = require "version"

local orders = app.service("orders", { auth = "bearer" })
local relay = outbox.start(orders)

local by_status = metrics.gauge("orders_by_status", "Orders, by status.", { "status" })
local unfinished = metrics.gauge("orders_unfinished",
  "Orders that are pending or owe money, for longer than recovery waits.")
local processing = metrics.histogram("order_processing_duration_seconds",
  "Time from the request to the confirmed order.")

for _, status in ipairs(search.statuses) do
  by_status:zero(status)
end

local cache_ttl_s = 5
local people = { "customer", "operator", "admin" }
local show = shapes.show

local function is_staff(user)
  return user.role == "operator" or user.role == "admin"
end

local function sees_all(user)
  return is_staff(user) or user.role == "service"
end

local function is_hidden(order, user)
  return not order or order.customer_id ~= user.sub and not sees_all(user)
end

local function no_such_order() -- strangers learn no more
  return fault.new("missing", "there is no such order")
end

orders:get("/api/v1/orders", {
  summary = "Lists orders, the newest first: one's own, or all for staff",
  query = search.query,
  answers = { [200] = page.of(shapes.view) }, faults = { 403 },
}, function(req)
  local user, customer_id = req.user, req.query.customer_id
  if customer_id and customer_id ~= user.sub and not sees_all(user) then
    return fault.new("denied", "these are somebody else's orders", { status = 403 })
  end
  local wish = search.wish(req, sees_all(user))
  wish.customer_id = customer_id or not sees_all(user) and user.sub or nil
  return 200, page.answer(store.list(wish), req, show)
end)

orders:get("/api/v1/orders/:id", {
  summary = "Shows an order to its customer and to staff",
  path = shapes.by_id,
  answers = { [200] = shapes.view }, faults = { 304, 404 },
}, function(req)
  local found = cache.fetch("order:" .. req.path.id, cache_ttl_s, function()
    local row = store.find(req.path.id)
    return row and show(row)
  end)
  if is_hidden(found, req.user) then
    return no_such_order()
  elseif version.fresh(req, found) then
    return 304, nil, version.headers(found)
  end
  return 200, found, version.headers(found)
end)

orders:post("/api/v1/orders", {
  summary = "Places an order: stock is held and money taken, or nothing is",
  auth = people, body = shapes.order, once_by = "idempotency-key",
  answers = { [201] = shapes.view }, faults = { 402, 409, 429, 502 },
}, function(req)
  local started = clock.mono()
  local problems = shapes.payment_problems(req.body.payment)
  if problems[1] then
    return app.rejected(problems)
  end
  local done, why = flow.place {
    user = req.user, key = req.once_key, body = req.body,
    authorization = req.headers.authorization,
  }
  if done or why.order_id then
    relay:wake() -- an order that failed has its event too
  end
  if not done then
    return why
  elseif not done.again then
    processing:observe(clock.mono() - started)
  end
  return 201, show(done.order), version.headers(done.order, {
    Location = "/api/v1/orders/" .. done.order.id,
  })
end)

-- Why the caller may not ask for this change, before it is known whether it can be made.
local function change_problem(req)
  if req.body.status and not is_staff(req.user) then
    return fault.new("denied", "only staff sends an order on", { status = 403 })
  elseif not req.body.status and not req.body.note then
    return app.rejected { { field = "status", message = "or note is required" } }
  end
end

orders:put("/api/v1/orders/:id", {
  summary = "Sends an order on (staff), or writes its note",
  auth = people, path = shapes.by_id, body = shapes.change,
  answers = { [200] = shapes.view }, faults = { 404, 409, 412 },
}, function(req)
  local seen, why = version.expected(req)
  if not seen then
    return why
  elseif is_hidden(store.find(req.path.id), req.user) then
    return no_such_order()
  end
  why = change_problem(req)
  if why then
    return why
  end
  local order
  order, why = moves.change(req.path.id, {
    version = seen, lost = version.lost(req), status = req.body.status,
    note = req.body.note,
  })
  if not order then
    return why
  end
  relay:wake()
  return 200, show(order), version.headers(order)
end)

orders:delete("/api/v1/orders/:id", {
  summary = "Cancels an order: its stock is freed and its money given back",
  auth = people, path = shapes.by_id,
  answers = { [200] = shapes.view }, faults = { 404, 409 },
}, function(req)
  local found = store.find(req.path.id)
  if is_hidden(found, req.user) then
    return no_such_order()
  end
  local own = found.customer_id == req.user.sub
  local order, why = undo.cancel(found.id, own and "customer" or "staff")
  if not order then
    return why
  end
  relay:wake()
  return 200, show(order), version.headers(order)
end)

inbox.consume(orders, "orders.hold-lost", {
  bind = { "inventory.hold_lost" }, event = shapes.hold_lost,
}, undo.hold_lost)
inbox.start(orders)

leader.every(orders, "recovery", 5, recovery.run)

-- Every replica counts, and all report the same: the maximum tells, not the sum.
orders:every("orders_by_status", 5, function()
  local count = {}
  for _, row in ipairs(store.counts()) do
    count[row.status] = row.n
  end
  for _, status in ipairs(search.statuses) do
    by_status:set(count[status] or 0, status)
  end
  unfinished:set(store.unfinished(recovery.after_s))
end)

return orders
