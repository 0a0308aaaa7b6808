-- Events that are published if, and only if, their transaction commits.
--
-- `add` writes the event into the table `outbox` inside the caller's transaction, with
-- the trace context of that moment. The relay reads rows, publishes each with that
-- context as parent, waits for the broker's confirms and deletes what was confirmed. When
-- it stops in between, a row is published again: consumers recognise an event by its
-- event_id (also message_id).
local db = require "db"
local fault = require "fault"
local metrics = require "metrics"
local queue = require "queue"
local random = require "random"
local task = require "task"
local trace = require "trace"

local pending = metrics.gauge("outbox_pending_messages",
  "Events that are committed and not yet published.")

local batch = 50

local outbox = {}

--- Adds an event to the transaction. The body gets the event's id as event_id.
---@param tx tx
---@param routing_key string
---@param body table
function outbox.add(tx, routing_key, body)
  local event = { event_id = random.uuid() }
  for name, value in pairs(body) do
    event[name] = value
  end
  local traceparent, tracestate = trace.context()
  tx:query([[insert into outbox (id, routing_key, body, traceparent, tracestate)
             values ($1, $2, $3, $4, $5)]],
    event.event_id, routing_key, event, traceparent or db.null, tracestate or db.null)
end

local function publish(row)
  return trace.continue(row.traceparent, row.tracestate, function()
    return queue.publish(row.routing_key, row.body, { message_id = row.id })
  end)
end

-- One batch: gives how many rows it saw, and why some of them stay, if any.
local function relay_batch()
  return db.tx(function(tx)
    local rows = tx:query([[select id, routing_key, body, traceparent, tracestate
                            from outbox order by seq limit $1
                            for update skip locked]], batch)
    local done, failed, parts = {}, nil, {}
    for i, row in ipairs(rows) do
      parts[i] = function()
        local confirmed, why = publish(row)
        if confirmed then
          done[#done + 1] = row.id
        else
          failed = why
        end
      end
    end
    if #parts > 0 then
      task.all(parts)
    end
    if #done > 0 then
      tx:query("delete from outbox where id in (select unnest($1::uuid[]))",
        "{" .. table.concat(done, ",") .. "}")
    end
    return { seen = #rows, failed = failed }
  end)
end

--- Publishes what waits. What the broker does not take stays, and why is raised.
function outbox.relay()
  local result
  repeat
    result = relay_batch()
  until result.failed or result.seen < batch or task.deadline() < 2
  pending:set(db.one("select count(*) as n from outbox").n)
  if result.failed then
    fault.raise(result.failed.kind, result.failed.detail)
  end
end

--- Runs the relay every second as a job of the service. Wake it after a commit.
---@param service table
---@return table job
function outbox.start(service)
  return service:every("outbox", 1, outbox.relay)
end

return outbox
