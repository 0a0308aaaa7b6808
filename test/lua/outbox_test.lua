-- What was confirmed leaves the outbox; what was not, stays for next time.
local db = require "db"
local fault = require "fault"
local outbox = require "outbox"
local queue = require "queue"
local test = require "test"
local trace = require "trace"

local function fake(rows)
  local deleted
  test.replace(db, "tx", function(fn)
    return fn {
      query = function(_, sql, argument)
        if sql:find("^select") then
          local taken = rows
          rows = {}
          return taken
        end
        deleted = argument
        return {}
      end,
    }
  end)
  test.replace(db, "one", function() return { n = 0 } end)
  return function() return deleted end
end

local function row(id)
  return {
    id = id, routing_key = "order.created", body = { event_id = id }, traceparent = "tp",
  }
end

test.case("events are published with their id and their own trace context", function()
  local deleted, sent, parents = fake { row "1", row "2" }, {}, {}
  test.replace(queue, "publish", function(key, body, options)
    table.insert(sent, { key, body.event_id, options.message_id })
    return true
  end)
  test.replace(trace, "continue", function(traceparent, _, fn)
    table.insert(parents, traceparent)
    return fn()
  end)
  outbox.relay()
  test.equal(sent, { { "order.created", "1", "1" }, { "order.created", "2", "2" } })
  test.equal(parents, { "tp", "tp" })
  test.equal(deleted(), "{1,2}")
end)

test.case("what the broker did not take stays, and the run fails", function()
  local deleted = fake { row "1", row "2" }
  test.replace(queue, "publish", function(_, _, options)
    if options.message_id == "1" then
      return nil, fault.new("unavailable", "broker down")
    end
    return true
  end)
  test.fails(outbox.relay, "unavailable")
  test.equal(deleted(), "{2}")
end)

test.case("adding an event gives it an id of its own", function()
  local arguments
  local tx = { query = function(_, _, ...) arguments = { ... } end }
  outbox.add(tx, "order.created", { order_id = "o" })
  test.match(arguments[1], "^%x+%-")
  test.equal(arguments[2], "order.created")
  test.equal(arguments[3], { event_id = arguments[1], order_id = "o" })
end)

return test.suite()
