-- What a route answers: the statuses it can give, and whether an answer keeps its word.
local admit = require "admit"
local shape = require "shape"

local answers = {}

-- What follows from a route by itself, by what it asks for.
local function derived(route)
  local shapes, list = route.shapes or {}, { 500, 503, 504 }
  if route.by_host then
    return {} -- no code of a service runs
  end
  local function add(...)
    for _, status in ipairs { ... } do
      list[#list + 1] = status
    end
  end
  if route.auth then
    add(401)
    if type(route.auth) == "table" then
      add(403)
    end
  end
  if shapes.body then
    add(400, 413, 415, 422)
  end
  if shapes.query or shapes.path or route.once_by then
    add(422)
  end
  return list
end

--- The statuses of the faults a route can answer with, growing.
---@param route table an entry of service.routes
---@return integer[]
function answers.faults(route)
  local list, known = {}, {}
  local function add(statuses)
    for _, status in ipairs(statuses) do
      if not known[status] then
        known[status] = true
        list[#list + 1] = status
      end
    end
  end
  add(derived(route))
  add(route.faults or {})
  table.sort(list)
  return list
end

local function is_fault(route, status)
  for _, known in ipairs(answers.faults(route)) do
    if known == status then
      return true
    end
  end
  return false
end

--- What is wrong with an answer of a route that declares its answers; nil when it is one
--- of them, or a fault that is declared or follows from what the route asks for.
---@param route table an entry of service.routes
---@param answer {status: integer, body: any, headers: table}
---@return string? why
function answers.differs(route, answer)
  local expected = route.answers and route.answers[answer.status]
  if not route.answers then
    return nil
  elseif expected == nil then
    return not is_fault(route, answer.status)
      and ("answered %s, which is none of its answers and faults"):format(
        tostring(answer.status)) or nil
  elseif expected == false then
    return answer.body ~= nil
      and ("answered %d with a body, and declares none"):format(answer.status) or nil
  end
  local _, errors = shape.check(expected, answer.body)
  return errors and ("answered %d with a body that is not the declared one: %s"):format(
    answer.status, admit.rejected(errors).detail) or nil
end

return answers
