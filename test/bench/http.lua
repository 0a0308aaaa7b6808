-- The handler that the HTTP bench measures: a small table written as JSON.
local app = require "app"
local s = app.service "bench"

s:get("/", function()
  return 200, { message = "hello", id = 42 }
end)

return s
