-- Mail, by the mock mail server of carrier.lua.
local carrier = require "carrier"
local conf = require "conf"
local fault = require "fault"
local metrics = require "metrics"
local trace = require "trace"

local mail = {}

local duration = metrics.histogram("email_send_duration_seconds",
  "Time the mail server took to answer.")

local manner = {
  latency_s = conf.option("mail_latency_ms_median", 20) / 1000,
  failure_percent = conf.option("mail_failure_percent", 0),
}

--- Sends a message: true, or nil, why.
---@param message {id: string, template: string, recipient: string, subject: string,
---  body: string}
---@return true? sent
---@return fault? why
function mail.send(message)
  return fault.catch(function()
    return trace.span("mail.send", { template = message.template }, function()
      metrics.time(duration, function()
        carrier.deliver("email", message, manner)
      end)
      return true
    end)
  end)
end

return mail
