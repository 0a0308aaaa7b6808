-- The SQL of users. Password hashes leave this file only towards `password.verify`.
local db = require "db"

local store = {}

--- Adds a user; refused when the address is taken.
function store.add(user)
  return db.one([[
    insert into users (id, email, name, password_hash) values ($1, $2, $3, $4)
    returning id, email, name, role, created_at]],
    user.id, user.email, user.name, user.password_hash)
end

--- For login only: with the password's hash.
function store.credentials(email)
  return db.one([[select id, email, name, role, password_hash from users
                  where lower(email) = lower($1)]], email)
end

function store.find(id)
  return db.one("select id, email, name, role, created_at from users where id = $1", id)
end

return store
