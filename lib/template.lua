-- Text with holes: {{name}} is replaced by the value of that name. No logic, no code.
local template = {}

local hole = "{{%s*([%w_]+)%s*}}"

local entities = {
  ["&"] = "&amp;", ["<"] = "&lt;", [">"] = "&gt;", ['"'] = "&quot;", ["'"] = "&#39;",
}

--- For values inside HTML.
---@param text string
---@return string
function template.html(text)
  return (text:gsub("[&<>\"']", entities))
end

--- For values inside a mail header: one line, whatever the value brings along.
---@param text string
---@return string
function template.line(text)
  return (text:gsub("[%c]+", " "))
end

--- The names of the holes, each once, sorted.
---@param text string
---@return string[]
function template.holes(text)
  local names, known = {}, {}
  for name in text:gmatch(hole) do
    if not known[name] then
      known[name] = true
      names[#names + 1] = name
    end
  end
  table.sort(names)
  return names
end

--- Fills the holes. A hole without a value is an error: half a message is worse than
--- none.
---@param text string
---@param values table
---@param escape? fun(text: string): string
---@return string
function template.render(text, values, escape)
  return (text:gsub(hole, function(name)
    local value = values[name]
    if value == nil then
      error("template: no value for {{" .. name .. "}}", 0)
    end
    value = tostring(value)
    return escape and escape(value) or value
  end))
end

return template
