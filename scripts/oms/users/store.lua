-- The SQL of users. Password hashes leave this file only towards `password.verify`.
local db = require "db"
local fault = require "fault"

local store = {}

local columns = [[id, email, name, phone, role, status, version, seq, created_at,
                  updated_at]]

--- Adds a user; refused when the address is taken.
function store.add(user)
  return db.one([[
    insert into users (id, email, name, phone, password_hash) values ($1, $2, $3, $4, $5)
    returning ]] .. columns,
    user.id, user.email, user.name, user.phone, user.password_hash)
end

--- For login only: with the password's hash.
function store.credentials(email)
  return db.one("select " .. columns .. [[, password_hash from users
    where lower(email) = lower($1)]], email)
end

function store.find(id)
  return db.one("select " .. columns .. " from users where id = $1", id)
end

--- The newest first, those before the cursor; one more than the limit says there are
--- more. The wanted text is a part of the address or of the name, in any case.
function store.list(before, role, status, wanted, limit)
  return db.query("select " .. columns .. [[ from users
    where ($1::bigint is null or seq < $1)
      and ($2::text is null or role = $2)
      and ($3::text is null or status = $3)
      and ($4::text is null or position(lower($4) in lower(email)) > 0
           or position(lower($4) in lower(name)) > 0)
    order by seq desc limit $5]],
    before or db.null, role or db.null, status or db.null, wanted or db.null, limit + 1)
end

-- The active administrators by id, and how many. They are locked first, always in the
-- same order: two of them who demote each other come one after the other, and the second
-- is told no.
local function administrators(tx)
  local rows = tx:query([[select id from users where role = 'admin' and status = 'active'
                          order by id for update]])
  local found = {}
  for _, row in ipairs(rows) do
    found[row.id] = true
  end
  return found, #rows
end

local function stays_administrator(change)
  return (change.role or "admin") == "admin" and (change.status or "active") == "active"
end

--- Changes what the change names: the row, and whether its rights are others now. nil
--- when there is no such user of that version; refused when no administrator would be
--- left. Rights are changed by administrators, and it is the row of `by` that says who is
--- one: a token may be older.
---@param id string
---@param seen integer
---@param change table
---@param by string
---@return {row: table, rights_changed: boolean}? done
---@return fault? why
function store.change(id, seen, change, by)
  return db.tx(function(tx)
    local rights, found, count = change.role or change.status, nil, nil
    if rights then
      found, count = administrators(tx)
      if not found[by] then
        return nil, fault.new("denied", "this needs another role", { status = 403 })
      end
    end
    local old = tx:one("select role, status, version from users where id = $1 for update",
      id)
    if not old or old.version ~= seen then
      return nil
    elseif rights and found[id] and count == 1 and not stays_administrator(change) then
      return nil, fault.new("refused", "no active administrator would be left")
    end
    local row = tx:one([[
      update users set name = coalesce($2, name), phone = coalesce($3, phone),
        role = coalesce($4, role), status = coalesce($5, status),
        version = version + 1, updated_at = now()
      where id = $1 returning ]] .. columns,
      id, change.name or db.null, change.phone or db.null, change.role or db.null,
      change.status or db.null)
    return { row = row,
      rights_changed = row.role ~= old.role or row.status ~= old.status }
  end)
end

return store
