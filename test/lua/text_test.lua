-- Text is UTF-8 or it is refused.
local test = require "test"
local text = require "text"

test.case("characters are counted, not bytes", function()
  test.equal(text.length(""), 0)
  test.equal(text.length("naïve"), 5)
  test.equal(text.length("\240\159\154\128"), 1)
end)

test.case("overlong, cut and surrogate sequences are not clean", function()
  for _, bad in ipairs {
    "\192\175", "\224\128\175", "\195", "\128", "\237\191\191", "\245\128\128\128", "\0",
  } do
    test.equal(text.is_clean(bad), false, ("%q"):format(bad))
  end
end)

test.case("every length of sequence is clean", function()
  for _, good in ipairs { "", "a", "\195\169", "\226\130\172", "\244\143\191\191" } do
    test.equal(text.is_clean(good), true, ("%q"):format(good))
  end
end)

return test.suite()
