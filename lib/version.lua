-- Lost updates: whoever changes a thing says which version of it he has seen.
--
-- Rows have an integer `version` that grows with every change. Answers carry it as a
-- member and as the ETag. A change names it as the member `version`, or as If-Match (RFC
-- 9110, section 13.1.1), and happens only while the row still has it:
--
--   update things set name = $1, version = version + 1 where id = $2 and version = $3
local fault = require "fault"
local shape = require "shape"

local version = {}

local newest = 2 ^ 31 - 1

--- The member `version` of a body that changes something.
version.body = shape.optional(shape.integer(1, newest))

local function missing(field, message)
  return nil, fault.new("bad_input", field .. " " .. message, {
    errors = { { field = field, message = message } },
  })
end

--- The version that the caller has seen.
---@param req request with a checked body
---@return integer? version
---@return fault? why bad_input
function version.expected(req)
  local tag = req.headers["if-match"]
  if not tag then
    local seen = req.body and req.body.version
    if not seen then
      return missing("version", "is required (or If-Match)")
    end
    return seen
  end
  local seen = tonumber(tag:match('^"(%d+)"$'))
  if not seen or seen < 1 or seen > newest then
    return missing("If-Match", 'has to be an ETag of this resource, such as "3"')
  end
  return seen
end

--- The fault for a change that came too late: 412 when If-Match named the version, else
--- 409.
---@param req request
---@return fault
function version.lost(req)
  return fault.new("refused", "it was changed meanwhile: read it again", {
    status = req.headers["if-match"] and 412 or nil,
  })
end

--- Headers of an answer that shows the row: its ETag, and more.
---@param row {version: integer}
---@param more? table<string, string>
---@return table<string, string>
function version.headers(row, more)
  local headers = { ETag = ('"%d"'):format(row.version) }
  for name, value in pairs(more or {}) do
    headers[name] = value
  end
  return headers
end

--- Whether the caller has this version already (If-None-Match): then the answer is 304.
---@param req request
---@param row {version: integer}
---@return boolean
function version.fresh(req, row)
  local tags = req.headers["if-none-match"]
  if not tags then
    return false
  elseif tags == "*" then
    return true
  end
  local own = ('"%d"'):format(row.version)
  for tag in tags:gmatch('"[^"]*"') do
    if tag == own then
      return true
    end
  end
  return false
end

return version
