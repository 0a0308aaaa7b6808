-- What a gateway forwards, for people and for machines: for lib/describe.lua.
local json = require "json"

local gate_describe = {}

local function by_name(list)
  local found = {}
  for _, entry in ipairs(list) do
    found[entry.name] = entry
  end
  return found
end

local function limit(entry)
  return {
    name = entry.name, requests = entry.requests, per_s = entry.per_s,
    burst = entry.burst, by = entry.header and "header " .. entry.header or entry.by,
  }
end

--- Its routes as plain values, each with where it leads and within which limits.
---@param made table the member `gate` of a service
---@return table[]
function gate_describe.of(made)
  local upstreams, limits = by_name(made.upstreams), by_name(made.limits)
  local list = json.array {}
  for i, route in ipairs(made.routes) do
    local within = json.array {}
    for k, name in ipairs(route.limits) do
      within[k] = limit(limits[name])
    end
    list[i] = {
      prefix = route.prefix, upstream = route.upstream, rewrite = route.rewrite,
      address = upstreams[route.upstream].address, limits = within,
      upgrade = route.upgrade or nil, before = route.before and true or nil,
    }
  end
  return list
end

--- One of them as a line of text.
---@param route table
---@return string
function gate_describe.line(route)
  local marks = {}
  for i, entry in ipairs(route.limits) do
    marks[i] = ("%s: %g in %g s by %s, burst %g"):format(
      entry.name, entry.requests, entry.per_s, entry.by, entry.burst)
  end
  marks[#marks + 1] = route.upgrade and "WebSocket" or nil
  marks[#marks + 1] = route.before and "before" or nil
  local mark = #marks > 0 and "  (" .. table.concat(marks, "; ") .. ")" or ""
  local to = route.upstream .. (route.rewrite and " " .. route.rewrite or "")
  return ("%s  to %s at %s%s"):format(route.prefix, to, route.address, mark)
end

return gate_describe
