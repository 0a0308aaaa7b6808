-- The settings a script may see. The file conf/<lab>.lua gives a service its `options`.
local native = require "native.conf"

local conf = {}

--- A setting of the host: service, lab, port, mode, upstreams.
---@type fun(name: string): any
conf.get = native.get

--- One of the service's own options, or the default.
---@param name string
---@param default any
---@return any
function conf.option(name, default)
  local options = conf.get("options")
  local value = options and options[name]
  if value == nil then
    return default
  end
  return value
end

return conf
