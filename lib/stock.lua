-- Stock decisions, made in C: all lines or none, never below zero, once per order id.
-- Refusals come back as nil, why; a database that cannot answer is a `why` or a raise of
-- the host, and both end the request with the right status when they are passed on.
--
-- Where the state of the order's hold is the reason, why.hold says it: "released",
-- "sold", "expired" or "returned". Where a product is, why.sku names it.
local native = require "native.stock"

local stock = {}

---@class reservation
---@field reservation_id string
---@field expires_at string
---@field items {sku: string, quantity: integer, unit_price: integer, warehouse: string}[]

---@class wish
---@field order_id string
---@field items {sku: string, quantity: integer}[]
---@field ttl_s number

--- Holds stock for an order. The same order id again gives the same reservation, or, when
--- that expired, takes it anew.
---@type fun(wish: wish): reservation?, fault?
stock.reserve = native.reserve

--- Gives a hold back. {released = false} when there was nothing (left) to give back.
---@type fun(order_id: string): {released: boolean}?, fault?
stock.release = native.release

--- Turns a hold into a sale. {sold = false} when it already was one.
---@type fun(order_id: string): {sold: boolean}?, fault?
stock.sell = native.sell

--- Ends whatever the order has of stock, for good: a hold is given back, what was sold
--- comes back, and what it asks for later is refused. {cancelled = false} when it had
--- ended so before.
---@type fun(order_id: string): {cancelled: boolean}?, fault?
stock.cancel = native.cancel

--- Ends a hold whose time has passed. {expired = false} when there was none.
---@type fun(order_id: string): {expired: boolean}?, fault?
stock.expire = native.expire

return stock
