-- Digests agree with everybody else's.
local crypto = require "crypto"
local test = require "test"

test.case("sha256 of abc is the published one", function()
  test.equal(crypto.fingerprint("abc"),
    "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad")
end)

test.case("hmac-sha256 agrees with RFC 4231, case 2", function()
  test.equal(crypto.hex(crypto.hmac_sha256("Jefe", "what do ya want for nothing?")),
    "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843")
end)

test.case("base64url has no padding and comes back", function()
  test.equal(crypto.base64url("\255\254\253"), "__79")
  for _, data in ipairs { "", "a", "ab", "abc", "\0\255" } do
    test.equal(crypto.unbase64url(crypto.base64url(data)), data)
  end
  for _, bad in ipairs { "a", "a=", "a b", "+/+/" } do
    test.equal(crypto.unbase64url(bad), nil, bad)
  end
end)

test.case("equal means equal", function()
  test.equal(crypto.equal("abc", "abc"), true)
  test.equal(crypto.equal("abc", "abd"), false)
  test.equal(crypto.equal("abc", "abcd"), false)
end)

return test.suite()
