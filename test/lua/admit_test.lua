-- Nobody and nothing passes that the route does not let in.
local admit = require "admit"
local jwt = require "jwt"
local shape = require "shape"
local test = require "test"

local function asking(claims)
  test.replace(jwt, "secret", function() return "secret" end)
  local token = claims and "Bearer " .. jwt.sign(claims, 60)
  return { headers = { authorization = token }, path = {}, query = {} }
end

test.case("whoever has a token is known by its claims", function()
  local req = asking { sub = "u1", role = "customer" }
  test.equal(admit.user(req, "bearer"), nil)
  test.equal(req.user.sub, "u1")
  test.equal(admit.user(asking(), "bearer").kind, "denied")
end)

test.case("of roles, the listed ones pass", function()
  local roles = { "operator", "admin" }
  test.equal(admit.user(asking { sub = "u1", role = "admin" }, roles), nil)
  test.equal(admit.user(asking { sub = "u1", role = "customer" }, roles).status, 403)
  test.equal(admit.user(asking { sub = "u1" }, roles).status, 403)
end)

test.case("every part of the input is checked, and all is told at once", function()
  local number = shape.object { n = shape.integer(1, 9) }
  local why = admit.input({
    headers = {}, path = { n = "x" }, query = { n = "10" }, body = { n = "1" },
  }, {
    path = number, query = number, body = number, once_by = "idempotency-key",
  })
  local named = {}
  for i, problem in ipairs(why.errors) do
    named[i] = problem.field
  end
  test.equal(table.concat(named, " "), "n n Idempotency-Key n")
  test.match(why.detail, "^n has to be .* %(and 3 more%)$")
end)

test.case("a key is visible characters, 200 at most", function()
  local once = { once_by = "x-key" }
  local function with(key)
    return { headers = { ["x-key"] = key }, path = {}, query = {} }
  end
  local req = with(("k"):rep(200))
  test.equal({ admit.input(req, once), #req.once_key }, { nil, 200 })
  for _, bad in ipairs { "", "a b", "\127", "é", ("k"):rep(201) } do
    test.equal(admit.input(with(bad), once).errors[1].field, "X-Key", bad)
  end
end)

return test.suite()
