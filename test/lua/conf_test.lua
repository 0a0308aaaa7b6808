-- Options have defaults, and false is a value.
local conf = require "conf"
local test = require "test"

test.case("an option that is not set is its default", function()
  test.replace(conf, "get", function() return { on = false, size = 3 } end)
  test.equal(conf.option("on", true), false)
  test.equal(conf.option("size", 1), 3)
  test.equal(conf.option("other", 7), 7)
end)

test.case("a service without options has defaults only", function()
  test.replace(conf, "get", function() end)
  test.equal(conf.option("size", 1), 1)
end)

return test.suite()
