-- Text messages, by the mock phone network of carrier.lua.
local carrier = require "carrier"
local conf = require "conf"
local fault = require "fault"
local metrics = require "metrics"
local trace = require "trace"

local sms = {}

local duration = metrics.histogram("sms_send_duration_seconds",
  "Time the phone network took to answer.")

local manner = {
  latency_s = conf.option("sms_latency_ms_median", 20) / 1000,
  failure_percent = conf.option("sms_failure_percent", 0),
}

--- Sends a message: true, or nil, why.
---@param message {id: string, template: string, recipient: string, body: string}
---@return true? sent
---@return fault? why
function sms.send(message)
  return fault.catch(function()
    return trace.span("sms.send", { template = message.template }, function()
      metrics.time(duration, function()
        carrier.deliver("sms", message, manner)
      end)
      return true
    end)
  end)
end

return sms
