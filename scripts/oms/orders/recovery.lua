-- Recovery: brings orders to their end that a crash, a store or a peer left behind.
--
--   pending                payments is asked what became of the money, and promises that
--                          nothing more becomes of it (void)
--     captured             the stock is reserved again, by the same order id: confirmed;
--                          no stock, or another amount: cancelled, owing its money
--     none                 cancelled
--     open                 payments is still finding out: next time
--   cancelled, owing       the refund is asked for again, with the same key
--
-- Any other answer: next time. One replica leads; an order is marked as it is taken, so
-- that a second leader (one that stood still for its whole lease) gets others. All steps
-- are idempotent and all moves name the state they start from: see flow.lua on how they
-- meet the request that placed the order.
local conf = require "conf"
local fault = require "fault"
local log = require "log"
local metrics = require "metrics"
local moves = require "moves"
local peers = require "peers"
local store = require "store"
local task = require "task"
local trace = require "trace"
local undo = require "undo"

local recovered = metrics.counter("orders_recovered_total",
  "Pending orders that recovery brought to an end, by outcome.", { "outcome" })
recovered:zero("confirmed")
recovered:zero("cancelled")

local recovery = {
  after_s = conf.option("recover_after_s", 20), -- twice what a request may take
}

local retry_s = 4            -- just below the job's interval
local batch, width = 48, 8   -- orders taken at once, and of them side by side
local order_s = 10           -- the most that one order takes, all its waits together

-- What the caller hears who sends the same key again.
local function failure_of(order, detail, more)
  local failure = { kind = "refused", detail = detail, order_id = order.id }
  for name, value in pairs(more) do
    failure[name] = value
  end
  return failure
end

local function cancel_unpaid(order)
  return moves.cancel(order.id, {
    from = "pending", reason = "recovery",
    failure = failure_of(order,
      "the order could not be finished and is cancelled; nothing was charged",
      { charged = false }),
  })
end

local function cancel_paid(order, payment_id, reason)
  return moves.cancel(order.id, {
    from = "pending", reason = reason, payment_id = payment_id,
    failure = failure_of(order,
      "the order could not be finished and is cancelled; the money is given back",
      { payment_id = payment_id }),
  })
end

-- Whether inventory's answer is its last word on this order.
local function is_final(why)
  return why.kind == "refused" or why.kind == "bad_input" or why.kind == "missing"
end

-- Whether the order is paid, all of it. Staff may have charged another amount by hand, or
-- begun to give it back.
local function is_paid(order, payment)
  return payment.amount == order.total and (payment.refunded or 0) == 0
end

local function go_on(order, payment)
  if not is_paid(order, payment) then
    return cancel_paid(order, payment.payment_id, "payment")
  end
  local hold, why = peers.reserve(order)
  if hold then
    return moves.confirm(order.id, hold.reservation_id, payment.payment_id)
  elseif is_final(why) then
    return cancel_paid(order, payment.payment_id, "stock")
  end
  return nil, why
end

local function finish(order)
  local payment, why = peers.void(order)
  local done
  if not payment then
    return nil, why
  elseif payment.status == "captured" then
    done, why = go_on(order, payment)
  elseif payment.status == "none" then
    done = cancel_unpaid(order)
  else
    why = fault.new("refused", "the payment is " .. tostring(payment.status))
  end
  if done then
    local outcome = done.status == "cancelled" and "cancelled" or "confirmed"
    recovered:inc(outcome)
    log.info("order recovered", { order_id = order.id, outcome = outcome })
  end
  return done, why -- neither: somebody else was faster
end

-- One order, in the trace of the request that placed it. Gives why it has to wait.
local function take_up(order)
  return trace.continue(order.traceparent, nil, function()
    local _, why = fault.catch(function()
      return (order.status == "pending" and finish or undo.refund)(order)
    end)
    return why
  end)
end

-- A batch, `width` at a time. Gives how many have to wait, and one reason.
local function work_off(orders)
  local waiting, reason, left = 0, nil, #orders
  local function worker()
    while left > 0 and task.deadline() > order_s do
      local order = orders[left]
      left = left - 1
      local why = take_up(order)
      if why then
        waiting, reason = waiting + 1, why
      end
    end
  end
  local workers = {}
  for i = 1, math.min(width, #orders) do
    workers[i] = worker
  end
  task.all(workers)
  return waiting, reason
end

--- One look at everything that was left behind; the job "recovery".
function recovery.run()
  local waiting, reason, seen, count = 0, nil, 0, nil
  repeat
    local orders = store.take_unfinished(recovery.after_s, retry_s, batch)
    count = 0
    if orders[1] then
      count, reason = work_off(orders)
    end
    waiting, seen = waiting + count, #orders
    -- A batch of which nothing could be done says that somebody is away.
  until seen < batch or count == seen or task.deadline() < order_s
  if waiting > 0 then
    log.warn("orders wait for recovery", {
      orders = waiting, kind = reason and reason.kind, error = reason and reason.detail,
    })
  end
end

return recovery
