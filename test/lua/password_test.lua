-- Passwords are kept as argon2id hashes that only the password opens.
local password = require "password"
local test = require "test"

test.case("a hash opens with its password and with nothing else", function()
  local encoded = password.hash("correct horse")
  test.match(encoded, "^%$argon2id%$")
  test.equal(password.verify(encoded, "correct horse"), true)
  test.equal(password.verify(encoded, "Correct horse"), false)
  test.equal(password.verify("nonsense", "correct horse"), false)
end)

test.case("the same password has another hash each time", function()
  test.equal(password.hash("same") ~= password.hash("same"), true)
end)

test.case("the lab's people have the passwords that are written on the box", function()
  local demo = "$argon2id$v=19$m=19456,t=2,p=1$DwD94ma+TJ3gORSswLvZog"
    .. "$hu+nsxje+wAm72S+dmq67CkgZx6YnlHoV07TA11HedY"
  test.equal(password.verify(demo, "demo-password"), true)
end)

return test.suite()
