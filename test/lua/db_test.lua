-- A transaction ends with its function: well, refused, or with what was raised.
local db = require "db"
local fault = require "fault"
local test = require "test"

local function fake()
  local log = {}
  local handle = {}
  function handle:query(sql, ...)
    table.insert(log, sql .. select("#", ...))
    return { { n = 1 } }
  end
  function handle:commit() table.insert(log, "commit") end
  function handle:rollback() table.insert(log, "rollback") end
  test.replace(db, "begin", function() return handle end)
  return log
end

test.case("it commits what returns", function()
  local log = fake()
  test.equal(db.tx(function(tx) return tx:one("q", nil, nil).n end), 1)
  test.equal(log, { "q2", "commit" })
end)

test.case("it commits what returns nothing", function()
  local log = fake()
  db.tx(function(tx) tx:query("q") end)
  test.equal(log, { "q0", "commit" })
end)

test.case("nil, why rolls back and is passed on", function()
  local log = fake()
  test.fails(function()
    return db.tx(function() return nil, fault.new("refused", "no") end)
  end, "refused")
  test.equal(log, { "rollback" })
end)

test.case("what is raised rolls back and goes on", function()
  local log = fake()
  test.fails(function()
    db.tx(function() fault.raise("unavailable", "gone") end)
  end, "unavailable")
  test.equal(log, { "rollback" })
end)

test.case("one gives the first row, nothing, or why", function()
  test.replace(db, "query", function(sql)
    if sql == "rows" then
      return { { n = 1 }, { n = 2 } }
    elseif sql == "none" then
      return {}
    end
    return nil, fault.new("refused", "taken", { constraint = "c" })
  end)
  test.equal(db.one("rows").n, 1)
  test.equal(db.one("none"), nil)
  local row, why = db.one("conflict")
  test.equal({ row, why.constraint }, { nil, "c" })
end)

return test.suite()
