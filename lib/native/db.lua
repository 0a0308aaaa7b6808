---@meta native.db
-- PostgreSQL: statements and transactions, of the worker's pool. Every function waits. A
-- violated constraint comes back as nil, why (refused, with why.code and why.constraint);
-- everything else is raised.

---@class native.rows: table[] rows, each a table column -> value
---@field affected integer

---@class native.tx rolled back when its task ends before it does
local tx = {}

---@param sql string with $1, $2 ...
---@param ... any nil is NULL; a table is written as JSON
---@return native.rows? rows
---@return fault? why
function tx:query(sql, ...) end

---@return true done
function tx:commit() end

---@return true done
function tx:rollback() end

local db = {}

--- Stands for NULL where a trailing nil would be lost.
---@type userdata
db.null = nil

--- Integers beyond 2^53 come as texts, timestamps as RFC 3339 in UTC.
---@param sql string with $1, $2 ...
---@param ... any nil is NULL; a table is written as JSON
---@return native.rows? rows
---@return fault? why
function db.query(sql, ...) end

--- A transaction, on a connection of its own.
---@return native.tx tx
function db.begin() end

return db
