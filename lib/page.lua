-- Lists by the page: the newest first, and what is added meanwhile moves nothing.
--
-- Rows have a growing integer `seq`. A page ends with a cursor that names the last row it
-- showed, and the next page is what comes before that row.
--
--   local listed = page.query { status = shape.optional(shape.one_of(statuses)) }
--   s:get("/orders", { query = listed, answers = { [200] = page.of(order) } },
--     function(req)
--       local rows = db.query([[select * from orders
--         where ($1::bigint is null or seq < $1) order by seq desc limit $2]],
--         page.before(req), req.query.limit + 1)
--       return 200, page.answer(rows, req, view)
--     end)
local crypto = require "crypto"
local fault = require "fault"
local json = require "json"
local shape = require "shape"

local page = {}

local limit_max, limit_default = 100, 20
local seq_max = 2 ^ 53 -- beyond it a number is not exact, and not written as digits

-- A cursor is made by us and means nothing to others; the letter says of which kind.
local function write_cursor(seq)
  return crypto.base64url(("s%.0f"):format(seq))
end

local function read_cursor(cursor)
  local seq = tonumber((crypto.unbase64url(cursor) or ""):match("^s(%d+)$"))
  return seq and seq <= seq_max and seq or nil
end

--- The shape of a list's query: its own fields, and `limit` and `cursor`.
---@param fields table<string, shape>
---@return shape
function page.query(fields)
  local all = {
    limit = shape.optional(shape.integer(1, limit_max), limit_default),
    cursor = shape.optional(shape.text(1, 100)),
  }
  for name, field in pairs(fields) do
    all[name] = field
  end
  return shape.object(all)
end

--- The seq that the wanted rows come before; nil for the first page. Raises bad_input for
--- a cursor that is none of ours.
---@param req request
---@return integer? seq
function page.before(req)
  local cursor = req.query.cursor
  if not cursor then
    return nil
  end
  return read_cursor(cursor) or fault.raise("bad_input", "cursor is not one of a list", {
    errors = { { field = "cursor", message = "is not one of a list" } },
  })
end

--- The page's body out of up to limit + 1 rows.
---@param rows table[]
---@param req request
---@param view fun(row: table): table
---@return {items: table[], next_cursor?: string}
function page.answer(rows, req, view)
  local limit, items = req.query.limit, json.array {}
  for i = 1, math.min(#rows, limit) do
    items[i] = view(rows[i])
  end
  local more = #rows > limit
  return { items = items, next_cursor = more and write_cursor(rows[limit].seq) or nil }
end

--- The shape of such a body.
---@param item shape
---@return shape
function page.of(item)
  return shape.object {
    items = shape.list(item, 0, limit_max),
    next_cursor = shape.optional(shape.text(1, 100)),
  }
end

return page
