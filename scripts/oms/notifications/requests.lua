-- What of a request to send no shape can see: that its parts fit together.
local app = require "app"
local messages = require "messages"
local shape = require "shape"
local shapes = require "shapes"

local requests = {}

local function problem(errors, field, message)
  table.insert(errors, { field = field, message = message })
end

-- A text of the caller's own is the template "plain".
local function read_text(body, errors)
  if body.values then
    problem(errors, "values", "belongs to a template")
  end
  if not body.body then
    problem(errors, "body", "is required (or template and values)")
  end
  if body.channel == "email" and not body.subject then
    problem(errors, "subject", "is required")
  elseif body.channel == "sms" and body.subject then
    problem(errors, "subject", "belongs to a mail")
  end
  return "plain", { subject = body.subject, body = body.body }
end

local function read_template(body, errors)
  local values, known = body.values or {}, {}
  for _, field in ipairs { "subject", "body" } do
    if body[field] then
      problem(errors, field, "is the template's")
    end
  end
  for _, type in ipairs { "email", "sms" } do
    for _, name in ipairs(messages.holes(body.template, type)) do
      known[name] = true
      if type == body.channel and not values[name] then
        problem(errors, "values." .. name, "is required")
      end
    end
  end
  for name in pairs(values) do
    if not known[name] then
      problem(errors, "values." .. name:sub(1, 64), "is not in the template")
    end
  end
  return body.template, values
end

--- The request with its template and values; or nil, why.
---@param body table of shapes.request
---@return table? request
---@return fault? why
function requests.read(body)
  local errors = {}
  if not shape.check(shapes.recipients[body.channel], body.recipient) then
    problem(errors, "recipient", body.channel == "sms"
      and "has to be a phone number like +15550100123" or "has to be an e-mail address")
  end
  local read = body.template and read_template or read_text
  local template, values = read(body, errors)
  if not errors[1] and body.channel == "sms" then
    local text = messages.compose(template, "sms", values).body
    if not shape.check(shapes.sms_body, text) then
      problem(errors, body.template and "values" or "body",
        "makes a text message of no or too many characters")
    end
  end
  if errors[1] then
    table.sort(errors, function(a, b) return a.field < b.field end)
    return nil, app.rejected(errors)
  end
  return {
    user_id = body.user_id, channel = body.channel, recipient = body.recipient,
    template = template, values = values,
  }
end

return requests
