-- A job's time is run by one replica, and the lease is given back however the run ends.
local app = require "app"
local db = require "db"
local fault = require "fault"
local leader = require "leader"
local test = require "test"

-- A database in which the lease can be had, or not; gives what was written at the end.
local function lease(run)
  local ended = {}
  test.replace(db, "one", function(_, name, _, held_s, next_s)
    ended.asked = { name, held_s, next_s }
    return run and { run = run } or nil
  end)
  test.replace(db, "query", function(_, name, _, number, went_well)
    ended.given_back = { name, number, went_well }
    return {}
  end)
  return ended
end

local function job(fn)
  local s = app.service "leading"
  leader.every(s, "sweep", 10, fn)
  return s.jobs[1]
end

test.case("who gets the lease does the job and gives the lease back", function()
  local ended, runs = lease(7), 0
  job(function() runs = runs + 1 end).handler()
  test.equal(runs, 1)
  test.equal(ended.given_back, { "sweep", 7, true })
end)

test.case("who does not get it does nothing", function()
  local ended = lease(nil)
  job(function() error "must not run" end).handler()
  test.equal(ended.given_back, nil)
end)

test.case("a job that fails gives the lease back, without a success", function()
  local ended = lease(8)
  local found = job(function() fault.raise("unavailable", "away") end)
  test.fails(found.handler, "unavailable")
  test.equal(ended.given_back, { "sweep", 8, false })
end)

test.case("the lease outlasts the longest run; the next is due in time", function()
  local ended = lease(1)
  local found = job(function() end)
  found.handler()
  test.equal(found.every_s, 10)
  test.equal(ended.asked, { "sweep", 35, 9 })
end)

test.case("a lease that could not be given back fails the run", function()
  lease(9)
  test.replace(db, "query", function() fault.raise("unavailable", "gone") end)
  test.fails(job(function() end).handler, "unavailable")
end)

return test.suite()
