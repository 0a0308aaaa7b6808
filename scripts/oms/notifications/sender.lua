-- Sends what is queued, each at least once and as a rule at once.
--
--   queued --arrived--> sent
--     |  ^
--     |  +-- failed: later again, each time about twice as long
--     +--failed for the fifth time--> failed
--
-- A queued row is held by whoever sends it: next_attempt_at says until when. One that
-- ends in between leaves it to the next replica that looks, and a message that went out
-- all the same is known outside by its id.
local conf = require "conf"
local log = require "log"
local mail = require "mail"
local metrics = require "metrics"
local random = require "random"
local sms = require "sms"
local store = require "store"
local task = require "task"
local trace = require "trace"

local sender = {}

local sent = metrics.counter("notifications_sent_total",
  "Notifications that are settled, by type and outcome.", { "type", "status" })
local retries = metrics.counter("notifications_retries_total",
  "Attempts to send after one that failed, by type.", { "type" })

for _, type in ipairs { "email", "sms" } do
  for _, status in ipairs { "sent", "failed", "suppressed" } do
    sent:zero(type, status)
  end
  retries:zero(type)
end
sent:zero("websocket", "sent")

local transports = { email = mail, sms = sms }

local attempts_max = 5
local delay_first_s = conf.option("retry_delay_ms_first", 2000) / 1000
local delay_max_s = 300
local batch = 16

--- For how long a row is its holder's: longer than an attempt takes.
sender.held_s = 15

--- Counts what was settled: "sent", "failed" or "suppressed".
function sender.count(type, status)
  sent:inc(type, status)
end

-- Doubled each time; half of it by chance, so that what failed together comes back apart.
local function delay_s(failures)
  local full = math.min(delay_first_s * 2 ^ (failures - 1), delay_max_s)
  return full * (1 + random.number()) / 2
end

--- One attempt with a row that the caller holds.
---@param row {id: string, type: string, attempts: integer}
function sender.attempt(row)
  local done, why = transports[row.type].send(row)
  if done then
    if store.sent(row.id) then
      sender.count(row.type, "sent")
    end
    return
  end
  local failures = row.attempts + 1
  local fields = {
    notification_id = row.id, type = row.type, attempts = failures,
    kind = why.kind, error = why.detail,
  }
  if failures < attempts_max then
    store.postpone(row.id, row.attempts, delay_s(failures), why.detail)
    log.warn("a notification could not be sent, later again", fields)
  elseif store.give_up(row.id, row.attempts, why.detail) then
    sender.count(row.type, "failed")
    log.error("a notification was given up", fields)
  end
end

--- Attempts with several rows, side by side.
---@param rows table[]
function sender.attempt_all(rows)
  local parts = {}
  for i, row in ipairs(rows) do
    parts[i] = function() sender.attempt(row) end
  end
  if parts[1] then
    task.all(parts)
  end
end

-- As a part of the trace in which the notification came up.
local function retry(row)
  if row.attempts > 0 then
    retries:inc(row.type)
  end
  trace.continue(row.traceparent, row.tracestate, function()
    sender.attempt(row)
  end)
end

--- Sends what is due, a batch at a time, as long as the job has time for one more.
function sender.run()
  local rows
  repeat
    rows = store.due(batch, sender.held_s)
    local parts = {}
    for i, row in ipairs(rows) do
      parts[i] = function() retry(row) end
    end
    if parts[1] then
      task.all(parts)
    end
  until #rows < batch or task.deadline() < sender.held_s
end

return sender
