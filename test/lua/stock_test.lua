-- Wrong use of stock is an error at once; its decisions are tested with the database.
local stock = require "stock"
local test = require "test"

test.case("a wish without an order or items is an error", function()
  test.equal(pcall(stock.reserve, {}), false)
  test.equal(pcall(stock.reserve, { order_id = "o1", ttl_s = 1 }), false)
end)

test.case("settling nobody's stock is an error", function()
  for _, name in ipairs { "cancel", "expire", "release", "sell" } do
    test.equal(pcall(stock[name]), false, name)
  end
end)

return test.suite()
