-- Pages follow one another without a gap or a repetition, whatever is added meanwhile.
local crypto = require "crypto"
local page = require "page"
local shape = require "shape"
local test = require "test"

local listed = page.query { status = shape.optional(shape.one_of { "new", "old" }) }

-- As a database would: rows with seq below before, newest first.
local function rows_of(count, before, limit)
  local rows = {}
  for seq = count, 1, -1 do
    if (not before or seq < before) and #rows < limit then
      rows[#rows + 1] = { seq = seq, name = "row " .. seq }
    end
  end
  return rows
end

local function view(row)
  return row.name
end

local function ask(count, query)
  local req = { query = shape.check(listed, query, true) }
  local rows = rows_of(count, page.before(req), req.query.limit + 1)
  return page.answer(rows, req, view)
end

test.case("without a word about it a page has twenty rows", function()
  local first = ask(50, {})
  test.equal(#first.items, 20)
  test.equal(first.items[1], "row 50")
end)

test.case("the cursor leads to the next page, and the last page has none", function()
  local first = ask(5, { limit = "3" })
  test.equal(first.items, { "row 5", "row 4", "row 3" })
  local second = ask(5, { limit = "3", cursor = first.next_cursor })
  test.equal(second, { items = { "row 2", "row 1" } })
end)

test.case("a page that ends with the last row has no cursor", function()
  test.equal(ask(3, { limit = "3" }).next_cursor, nil)
end)

test.case("rows that are added meanwhile do not move the next page", function()
  local first = ask(5, { limit = "2" })
  local second = ask(9, { limit = "2", cursor = first.next_cursor })
  test.equal(second.items, { "row 3", "row 2" })
end)

test.case("an empty list is an empty array", function()
  test.equal(ask(0, {}), { items = {} })
end)

test.case("a cursor of somebody else's making is refused by name", function()
  local beyond = crypto.base64url "s9999999999999999" -- no number that is exact
  for _, cursor in ipairs {
    "x", "czEy!", "MTI", "cy0x", "c" .. ("9"):rep(40), beyond,
  } do
    local why = test.fails(function()
      ask(5, { cursor = cursor })
    end, "bad_input")
    test.equal(why.errors[1].field, "cursor")
  end
end)

test.case("its own fields are checked along with limit and cursor", function()
  local query = { status = "odd", limit = "101", more = "1" }
  local _, errors = shape.check(listed, query, true)
  test.equal(#errors, 3)
end)

test.case("the answer's shape takes what the answer is", function()
  local body = ask(5, { limit = "3" })
  test.equal(shape.check(page.of(shape.text(1, 10)), body).next_cursor, body.next_cursor)
end)

return test.suite()
