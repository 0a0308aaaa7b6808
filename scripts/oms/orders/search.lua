-- What a caller may search orders by: a query becomes the wish that store.list takes.
local page = require "page"
local shape = require "shape"

local search = {}

local statuses = { "pending", "processing", "shipped", "delivered", "cancelled" }
local money = shape.integer(0, 1e12)

search.statuses = statuses

--- Beside limit and cursor.
search.query = page.query {
  status = shape.optional(shape.one_of(statuses)),
  customer_id = shape.optional(shape.uuid),
  created_from = shape.optional(shape.time),
  created_to = shape.optional(shape.time),
  min_total = shape.optional(money),
  max_total = shape.optional(money),
  q = shape.optional(shape.text(1, 100)),
}

-- Days from 1970-01-01 to a date of the Gregorian calendar. The year begins in March
-- here, so that the day a leap year adds is its last one.
local function days_since_1970(year, month, day)
  if month <= 2 then
    year, month = year - 1, month + 12
  end
  local leaps = math.floor(year / 4) - math.floor(year / 100) + math.floor(year / 400)
  return 365 * year + leaps + math.floor((153 * month - 457) / 5) + day - 719469
end

-- Seconds since 1970 of a time that shape.time has let pass.
local function seconds_of(time)
  local year, month, day, hour, minute, second, rest =
    time:match("^(%d+)-(%d+)-(%d+)T(%d+):(%d+):(%d+)(.*)$")
  year, month, day = tonumber(year), tonumber(month), tonumber(day)
  local fraction = tonumber("0" .. (rest:match("^%.%d+") or ""))
  local sign, off_h, off_m = rest:match("([+-])(%d+):(%d+)$")
  local offset_s = sign and (off_h * 3600 + off_m * 60) * (sign == "+" and 1 or -1) or 0
  return days_since_1970(year, month, day) * 86400 + hour * 3600 + minute * 60 + second
    + fraction - offset_s
end

-- The first and the last id that begin with the text; nil when no id does.
local function ids_from(text)
  local hex = text:gsub("-", "")
  if not hex:find("^%x+$") or #hex > 32 then
    return nil
  end
  local function filled(digit)
    local all = hex .. digit:rep(32 - #hex)
    return ("%s-%s-%s-%s-%s"):format(all:sub(1, 8), all:sub(9, 12), all:sub(13, 16),
      all:sub(17, 20), all:sub(21))
  end
  local first = filled("0")
  if first:sub(1, #text) == text then
    return first, filled("f")
  end
end

--- The wish behind a request.
---@param req request whose query has this module's shape
---@param by_email boolean whether q finds e-mail addresses
---@return table wish
function search.wish(req, by_email)
  local query = req.query
  local wish = {
    before = page.before(req), customer_id = query.customer_id, status = query.status,
    min_total = query.min_total, max_total = query.max_total, by_email = by_email,
    limit = query.limit + 1,
  }
  wish.from = query.created_from and seconds_of(query.created_from)
  wish.to = query.created_to and seconds_of(query.created_to)
  if query.q then
    wish.text = query.q:lower()
    wish.first_id, wish.last_id = ids_from(wish.text)
  end
  return wish
end

return search
