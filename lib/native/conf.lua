---@meta native.conf
-- What a script may see of its settings: service, lab, port, mode, upstreams, options.

local conf = {}

---@param name string
---@return any value nil: there is no such setting
function conf.get(name) end

return conf
