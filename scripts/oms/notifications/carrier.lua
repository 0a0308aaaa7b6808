-- The mock outside world: a mail server and a phone network that take their time, fail as
-- often as they are told to, and keep what arrived. They know a message by its id, so the
-- same one again arrives once. Nothing leaves the machine.
local fault = require "fault"
local random = require "random"
local store = require "store"
local task = require "task"

local carrier = {}

-- Who asks waits no longer than this.
local timeout_s = 5

---@class manner
---@field latency_s number     the median
---@field failure_percent number

--- Takes a message, or raises timeout or unavailable.
---@param channel "email"|"sms"
---@param message {id: string, recipient: string, subject?: string, body: string}
---@param manner manner
function carrier.deliver(channel, message, manner)
  local wait_s = random.duration(manner.latency_s)
  task.sleep(math.min(wait_s, timeout_s))
  if wait_s > timeout_s then
    fault.raise("timeout", ("no answer in %d s"):format(timeout_s))
  elseif random.number() * 100 < manner.failure_percent then
    fault.raise("unavailable", "the mock carrier takes no message now")
  end
  store.deliver(channel, message)
end

return carrier
