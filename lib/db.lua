-- PostgreSQL. SQL is a literal with $1, $2 ...; a value never becomes part of the text.
--
-- A refusal by a constraint is the caller's to decide: it comes back as nil, why, of kind
-- "refused" and with the name in why.constraint. All else that goes wrong is raised.
local native = require "native.db"

local db = {}

--- Stands for NULL where a trailing nil would be easy to lose.
db.null = native.null

---@class tx
local tx = {}
local of_tx = { __index = tx, __metatable = false }

--- Rows as an array of tables, with `affected`; or nil, why.
---@type fun(sql: string, ...: any): table?, fault?
db.query = native.query

---@type fun(): userdata
db.begin = native.begin

local function first(rows, why)
  return rows and rows[1], why
end

--- The first row, nil when there is none, or nil, why.
---@param sql string
---@param ... any
---@return table? row
---@return fault? why
function db.one(sql, ...)
  return first(db.query(sql, ...))
end

--- The rows of a statement inside the transaction.
---@param sql string
---@param ... any
---@return table? rows
---@return fault? why
function tx:query(sql, ...)
  return self.native:query(sql, ...)
end

--- The first row of a statement inside the transaction.
---@param sql string
---@param ... any
---@return table? row
---@return fault? why
function tx:one(sql, ...)
  return first(self.native:query(sql, ...))
end

--- Runs fn(tx) in one transaction on one connection. It commits when fn returns, and
--- rolls back when fn raises or returns nil, why. Gives what fn returned.
---@param fn fun(tx: tx): any, fault?
---@return any result
---@return fault? why
function db.tx(fn)
  local handle = db.begin()
  local ok, result, why = pcall(fn, setmetatable({ native = handle }, of_tx))
  if not ok then
    pcall(handle.rollback, handle) -- the first failure is the one to tell
    error(result, 0)
  end
  if result == nil and why ~= nil then
    handle:rollback()
  else
    handle:commit()
  end
  return result, why
end

return db
