---@meta native.stock
-- Holding stock, and what becomes of it; idempotent by order. Every function waits, 5 s
-- at most. What the caller decides about comes back as nil, why (why.sku where one is to
-- blame, why.hold where the state of the hold is); a database that does not answer is
-- raised.

---@class native.stock_wish
---@field order_id string
---@field items {sku: string, quantity: integer}[]
---@field ttl_s number how long it is held, in seconds

---@class native.reservation
---@field reservation_id string
---@field expires_at string RFC 3339, UTC
---@field items native.stock_taken[]

---@class native.stock_taken
---@field sku string
---@field quantity integer
---@field unit_price integer in minor units
---@field warehouse string

local stock = {}

---@param wish native.stock_wish
---@return native.reservation? reservation
---@return fault? why refused: not enough; missing: no such SKU
function stock.reserve(wish) end

---@param order_id string
---@return {cancelled: boolean}? answer false: it had ended so before
---@return fault? why
function stock.cancel(order_id) end

---@param order_id string
---@return {expired: boolean}? answer false: nothing is held, or its time has not come
---@return fault? why
function stock.expire(order_id) end

---@param order_id string
---@return {released: boolean}? answer false: there was nothing (left) to release
---@return fault? why
function stock.release(order_id) end

---@param order_id string
---@return {sold: boolean}? answer false: it was sold before
---@return fault? why
function stock.sell(order_id) end

return stock
