-- Messages whose effect happens once, however often they come.
--
-- A message's id is taken in the table `inbox`, inside the transaction that does what it
-- asks for; then it is acknowledged. One that comes again finds its id taken and is
-- acknowledged without effect; one that fails takes nothing and comes again.
local db = require "db"
local fault = require "fault"
local leader = require "leader"
local log = require "log"
local shape = require "shape"

local inbox = {}

local kept_days = 7 -- longer than any message waits

local function take(tx, queue, message_id)
  return tx:one([[insert into inbox (queue, message_id) values ($1, $2)
                  on conflict do nothing returning message_id]], queue, message_id)
end

-- The message as its shape says, or a fault that sets it aside.
local function read(message, expected, queue)
  local event, errors = shape.check(expected, message.body)
  if not event then
    local first = errors[1]
    fault.raise("bad_input", ("%s: %s %s"):format(queue, first.field, first.message))
  elseif message.message_id == "" then
    fault.raise("bad_input", queue .. ": the message has no message_id")
  end
  return event
end

--- Takes messages from a queue, each once. What fn does through tx is committed together
--- with having taken the message; it gives nothing, or raises to have it again later.
---@param service service
---@param queue string
---@param options {bind: string[], prefetch?: integer, event: shape}
---@param fn fun(tx: tx, event: table, message: table)
function inbox.consume(service, queue, options, fn)
  service:consume(queue, { bind = options.bind, prefetch = options.prefetch },
    function(message)
      local event = read(message, options.event, queue)
      db.tx(function(tx)
        if take(tx, queue, message.message_id) then
          fn(tx, event, message)
        else
          log.debug("a message came again", {
            queue = queue, message_id = message.message_id,
          })
        end
      end)
    end)
end

--- Adds the job that forgets what was taken long ago.
---@param service service
---@return table job
function inbox.start(service)
  return leader.every(service, "inbox", 3600, function()
    db.query("delete from inbox where taken_at < now() - make_interval(days => $1)",
      kept_days)
  end)
end

return inbox
