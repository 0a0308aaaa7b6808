-- Undoing an order: first it is written down, in one transaction, that it is cancelled
-- and whether it owes money; then stock and money go back.
--
-- The event order.cancelled frees the stock whatever happens here, and recovery goes on
-- with the money. What is done at once is only faster, and may fail. Nothing goes back
-- before the order is cancelled: it could be shipped instead.
local fault = require "fault"
local log = require "log"
local moves = require "moves"
local peers = require "peers"
local store = require "store"
local task = require "task"

local undo = {}

--- Frees the order's stock at once, if that works. What is sold already is refused: only
--- the event takes it back.
function undo.release(order)
  local done, why = peers.release(order)
  if not done and why.kind ~= "refused" then
    log.warn("stock not released yet", {
      order_id = order.id, kind = why.kind, error = why.detail,
    })
  end
end

-- Whether the money is back, or why not yet. What payments has taken on it makes in the
-- end; but nobody is told before it is made. Where others give back a part, or all of it,
-- the payment says when nothing is left.
local function is_back(order)
  local refund, why = peers.refund(order)
  if refund and refund.status ~= "done" then
    return false, fault.new("refused", "the refund is " .. tostring(refund.status))
  elseif refund and refund.amount == order.total then
    return true
  elseif refund or why.kind == "refused" then
    local payment, unknown = peers.payment(order)
    return payment and payment.status == "refunded",
      why or unknown or fault.new("refused", "a part of the money is not back yet")
  end
  return false, why
end

--- Gives the money of a cancelled order back; again and again it is still once.
---@return table? order owing nothing
---@return fault? why
function undo.refund(order)
  local back, why = is_back(order)
  if not back then
    return nil, why
  end
  local row = store.refunded(order.id)
  if not row then -- somebody else was told so too
    return store.find(order.id)
  end
  moves.forget(order.id)
  log.info("order refunded", { order_id = order.id, payment_id = order.payment_id })
  return row
end

-- What to say of an order that is not processing: cancelled already is as good.
local function no_need(order)
  if order.status == "cancelled" then
    return order
  elseif order.status == "pending" then
    return nil, fault.new("refused", "this order is in progress: try again", {
      order_status = "pending", headers = { ["Retry-After"] = "1" },
    })
  end
  return nil, fault.new("refused", "this order is " .. order.status .. " already", {
    order_status = order.status,
  })
end

--- Cancels a confirmed order.
---@param id string
---@param reason "customer"|"staff"
---@return table? order
---@return fault? why
function undo.cancel(id, reason)
  local order = moves.cancel(id, { from = "processing", reason = reason })
  if not order then
    return no_need(store.find(id))
  end
  local refunded, why
  task.all {
    function() undo.release(order) end,
    function()
      refunded, why = fault.catch(function() return undo.refund(order) end)
    end,
  }
  if not refunded then
    log.warn("money not given back yet", {
      order_id = id, kind = why.kind, error = why.detail,
    })
  end
  return refunded or order
end

--- Cancels a confirmed order whose stock inventory could not keep. Its money is left to
--- recovery. Counted and logged before the commit: when that fails it comes again.
function undo.hold_lost(tx, event)
  local how = { from = "processing", reason = "hold_lost" }
  local order = moves.cancel_in(tx, event.order_id, how)
  if order then
    return moves.was_cancelled(order, how)
  end
  order = store.lock(tx, event.order_id)
  if order and order.status ~= "cancelled" then
    log.error("the stock of an order is lost that cannot be cancelled", {
      order_id = order.id, status = order.status,
    })
  end
end

return undo
