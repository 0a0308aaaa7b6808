-- Hello: the smallest service. It greets whoever is named in the path.
local app = require "app"

local s = app.service "hello"

s:get("/hello/:name", function(req)
  return 200, { hello = req.path.name }
end)

return s
