-- A message's effect happens once, and a message that cannot be read is set aside.
local app = require "app"
local db = require "db"
local fault = require "fault"
local inbox = require "inbox"
local shape = require "shape"
local test = require "test"

local event = shape.object({ order_id = shape.text(1, 64) }, "drop")

-- A database that keeps what was taken when the transaction ends well.
local function memory()
  local taken = {}
  test.replace(db, "tx", function(fn)
    local fresh = {}
    local result, why = fn {
      one = function(_, _, queue, id)
        local key = queue .. " " .. id
        if taken[key] then return nil end
        fresh[key] = true
        return { message_id = id }
      end,
    }
    for key in pairs(fresh) do taken[key] = true end
    return result, why
  end)
end

local function consumer(fn)
  local s = app.service "reading"
  inbox.consume(s, "reading.orders", { bind = { "order.created" }, event = event }, fn)
  return s.consumers[1]
end

local function message(id, body)
  return { message_id = id, body = body or { order_id = "o-1", more = true } }
end

test.case("a message that comes again has no second effect", function()
  memory()
  local seen = {}
  local found = consumer(function(_, read) table.insert(seen, read.order_id) end)
  found.handler(message "m-1")
  found.handler(message "m-1")
  found.handler(message "m-2")
  test.equal(seen, { "o-1", "o-1" })
end)

test.case("one that fails is not taken and has its effect when it comes again", function()
  memory()
  local times = 0
  local found = consumer(function()
    times = times + 1
    if times == 1 then fault.raise("unavailable", "away") end
  end)
  test.fails(function() found.handler(message "m-1") end, "unavailable")
  found.handler(message "m-1")
  test.equal(times, 2)
end)

test.case("what is not of the shape is bad_input, by queue and field", function()
  local found = consumer(function() error "must not run" end)
  local why = test.fails(function() found.handler(message("m-1", {})) end, "bad_input")
  test.match(why.detail, "^reading%.orders: order_id ")
end)

test.case("a message without an id is set aside: it could not be recognised", function()
  local found = consumer(function() error "must not run" end)
  test.fails(function() found.handler(message "") end, "bad_input")
end)

test.case("what was taken long ago is forgotten by one replica", function()
  local s = app.service "reading"
  test.equal(inbox.start(s).name, "inbox")
end)

return test.suite()
