-- What an order would be: who asks, whether the key is known, what each line costs.
-- Nothing is written.
local app = require "app"
local peers = require "peers"
local store = require "store"
local task = require "task"

local quote = {}

--- Asks everything that decides whether there can be an order, side by side.
---@param ask ask
---@return {user: table?, stranger: fault?, order: table?, items: table, problems: table}
function quote.look(ask)
  local seen = { items = {}, problems = {} }
  local parts = {
    function() seen.user, seen.stranger = peers.user(ask.authorization) end,
    function() seen.order = store.by_key(ask.user.sub, ask.key) end,
  }
  for _, item in ipairs(ask.body.items) do
    local sku = item.sku
    if seen.items[sku] == nil then
      seen.items[sku] = false
      table.insert(parts, function()
        seen.items[sku], seen.problems[sku] = peers.item(sku)
      end)
    end
  end
  task.all(parts)
  return seen
end

--- The lines with their prices and the total; or why there can be none.
---@param body table
---@param seen table
---@return {items: table[], total: integer}? priced
---@return fault? why
function quote.price(body, seen)
  local lines, total, errors = {}, 0, {}
  for i, item in ipairs(body.items) do
    local product, why = seen.items[item.sku], seen.problems[item.sku]
    local field = ("items[%d].sku"):format(i - 1)
    if product and product.currency == body.currency then
      lines[i] = {
        sku = item.sku, quantity = item.quantity, unit_price = product.unit_price,
      }
      total = total + item.quantity * product.unit_price
    elseif product then
      local message = "is not sold for " .. body.currency
      table.insert(errors, { field = field, message = message })
    elseif why.kind == "missing" then
      table.insert(errors, { field = field, message = "is not a known product" })
    else
      return nil, why
    end
  end
  if errors[1] then
    return nil, app.rejected(errors)
  end
  return { items = lines, total = total }
end

return quote
