-- Who may ask a route, and with what: checked before its handler runs. For lib/app.lua.
local fault = require "fault"
local jwt = require "jwt"
local shape = require "shape"

local admit = {}

--- Who is asking goes to req.user; gives nothing, or why not.
---@param req request
---@param auth "bearer"|string[]
---@return fault? why
function admit.user(req, auth)
  local user, why = jwt.of_request(req)
  if not user then
    return why
  end
  req.user = user
  if type(auth) == "table" then
    for _, role in ipairs(auth) do
      if user.role == role then
        return nil
      end
    end
    return fault.new("denied", "this needs another role", { status = 403 })
  end
end

--- A header's name as people write it: "Idempotency-Key".
---@param name string
---@return string
function admit.header_name(name)
  return (name:gsub("^%a", string.upper):gsub("%-%a", string.upper))
end

local function check_part(req, part, expected, errors)
  if expected then
    local value, found = shape.check(expected, req[part], part ~= "body")
    req[part] = value
    for _, problem in ipairs(found or {}) do
      errors[#errors + 1] = problem
    end
  end
end

--- Everything that is wrong with the input, at once.
---@param req request
---@param options options
---@return fault? why
function admit.input(req, options)
  local errors = {}
  check_part(req, "path", options.path, errors)
  check_part(req, "query", options.query, errors)
  if options.once_by then
    req.once_key = req.headers[options.once_by]
    if not req.once_key or not req.once_key:find("^[%w%p]+$") or #req.once_key > 200 then
      errors[#errors + 1] = {
        field = admit.header_name(options.once_by),
        message = "is a required header of 1 to 200 visible characters",
      }
    end
  end
  check_part(req, "body", options.body, errors)
  if #errors > 0 then
    return admit.rejected(errors)
  end
end

--- The fault for rejected fields.
---@param errors {field: string, message: string}[]
---@return fault
function admit.rejected(errors)
  local first = errors[1]
  local detail = first.field .. " " .. first.message
  if #errors > 1 then
    detail = ("%s (and %d more)"):format(detail, #errors - 1)
  end
  return fault.new("bad_input", detail, { errors = errors })
end

return admit
