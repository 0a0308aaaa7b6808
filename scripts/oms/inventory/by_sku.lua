-- Lists in the order of the SKU, by the page, as `page` does it for what is newest first.
local crypto = require "crypto"
local fault = require "fault"
local json = require "json"
local text = require "text"

local by_sku = {}

local sku_max = 32

local function read_cursor(cursor)
  local sku = (crypto.unbase64url(cursor) or ""):match("^k(.+)$")
  return sku and text.is_clean(sku) and text.length(sku) <= sku_max and sku or nil
end

--- The SKU that the wanted rows come after; nil for the first page. Raises bad_input for
--- a cursor that is none of ours.
function by_sku.after(req)
  local cursor = req.query.cursor
  if not cursor then
    return nil
  end
  local sku = read_cursor(cursor)
  if not sku then
    fault.raise("bad_input", "cursor is not one of this list", {
      errors = { { field = "cursor", message = "is not one of this list" } },
    })
  end
  return sku
end

--- The page's body out of up to limit + 1 rows.
function by_sku.answer(rows, req, view)
  local limit, items = req.query.limit, json.array {}
  for i = 1, math.min(#rows, limit) do
    items[i] = view(rows[i])
  end
  local more = #rows > limit
  return {
    items = items,
    next_cursor = more and crypto.base64url("k" .. rows[limit].sku) or nil,
  }
end

return by_sku
