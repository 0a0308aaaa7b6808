-- What others left open is settled: the acquirer's books decide.
--
--   payment   captured, declined, voided    written as it is
--             authorized                    captured now
--             not known                     voided there, so that it cannot come later,
--                                           then failed here
--             failed, acquirer was away     voided there, should it know it
--   refund    asked for again, with the same key
--
-- Taking a row up raises its attempt: whoever held it before writes nothing any more, and
-- replicas that do this side by side get different rows.
local acquirer = require "acquirer"
local flow = require "flow"
local refund_store = require "refund_store"
local refunds = require "refunds"
local store = require "store"
local task = require "task"

local reconcile = {}

local batch = 16
local last_call_s = 10 -- a batch takes less: three calls, and what the database takes

local function payment(row)
  local said = acquirer.find(row)
  if said.state == "missing" then
    said = acquirer.void(row)
  elseif said.state == "authorized" then
    said = flow.capture(row, said.id)
  end
  if said then
    flow.settle(row, said)
  end
end

-- It has failed and stays so; money that the acquirer holds for it is set free.
local function void(row)
  local said = acquirer.void(row)
  if said.state == "voided" or said.state == "declined" then
    store.void_done(row.id)
  end
end

-- Rows are settled side by side; one that raises leaves its row to the next run.
local function drain(take_up, settle)
  repeat
    local rows, parts = take_up(batch), {}
    for i, row in ipairs(rows) do
      parts[i] = function() settle(row) end
    end
    if #parts > 0 then
      task.all(parts)
    end
  until #rows < batch or task.deadline() < last_call_s
end

--- Settles what is open for too long, as much as a run has time for.
function reconcile.run()
  drain(store.take_up_old, payment)
  drain(refund_store.take_up_old, refunds.attempt)
  drain(store.take_up_void_due, void)
end

return reconcile
