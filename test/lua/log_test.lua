-- Every level takes a message, with fields or without.
local log = require "log"
local test = require "test"

test.case("text, numbers and booleans can be fields", function()
  for _, level in ipairs { "debug", "info", "warn", "error" } do
    log[level]("sample")
    log[level]("sample", { order_id = "o1", total = 12, again = true })
  end
end)

return test.suite()
