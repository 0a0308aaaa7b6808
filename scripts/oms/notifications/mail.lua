-- The mock mail server: takes a message and its time. Nothing leaves the machine.
local conf = require "conf"
local metrics = require "metrics"
local random = require "random"
local task = require "task"
local trace = require "trace"

local mail = {}

local duration = metrics.histogram("email_send_duration_seconds",
  "Time the mail server took to accept a message.")

local latency_s = conf.option("mail_latency_ms_median", 20) / 1000

--- Sends a message; it always arrives.
---@param message {template: string, recipient: string, subject: string, body: string}
function mail.send(message)
  trace.span("mail.send", { template = message.template }, function()
    metrics.time(duration, function()
      task.sleep(random.duration(latency_s))
    end)
  end)
end

return mail
