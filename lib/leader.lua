-- Jobs that one replica does for all: each time is run once, by whoever takes it first.
--
-- The table `leases` has a row per job: who has it, until when, and when it is due. A run
-- begins by taking the row, which the database lets one replica do, and gets a number of
-- its own. A replica that ends in the middle keeps the lease until it runs out, so a run
-- starts at most `lease_s` late. Time is the database's.
--
-- A process that stands still for longer than its lease may go on when another run has
-- begun: what a job does has to bear that (rows locked, changes guarded by the expected
-- state).
local db = require "db"
local random = require "random"
local trace = require "trace"

local leader = {}

local lease_s = 35 -- longer than the host lets a job run
local owner = random.uuid()

-- The number of the run that this replica may do now, or nil.
local function take(name, seconds)
  local row = db.one([[
    insert into leases as l (name, owner, held_until, next_at)
    values ($1, $2, now() + make_interval(secs => $3), now() + make_interval(secs => $4))
    on conflict (name) do update
      set owner = excluded.owner, run = l.run + 1, started_at = now(),
          held_until = excluded.held_until, next_at = excluded.next_at
      where l.held_until <= now() and l.next_at <= now()
    returning run]],
    name, owner, lease_s, seconds)
  return row and row.run
end

local function give_back(name, run, went_well)
  db.query([[
    update leases set held_until = now(), finished_at = now(),
      last_success_at = case when $4 then now() else last_success_at end
    where name = $1 and owner = $2 and run = $3]],
    name, owner, run, went_well)
end

local function lead(name, seconds, fn)
  -- A little early: timers of replicas drift, and a job just missed would wait for twice
  -- its time.
  local run = take(name, seconds * 0.9)
  if not run then
    return
  end
  trace.set("orrery.job.run", run)
  local ok, why = pcall(fn)
  local kept, problem = pcall(give_back, name, run, ok)
  if not ok then
    error(why, 0)
  elseif not kept then
    error(problem, 0)
  end
end

--- Runs fn every so many seconds on one replica at a time, 30 s at most. The service's
--- schema has the table `leases`.
---@param service service
---@param name string
---@param seconds number
---@param fn fun()
---@return table job
function leader.every(service, name, seconds, fn)
  return service:every(name, seconds, function()
    lead(name, seconds, fn)
  end)
end

return leader
