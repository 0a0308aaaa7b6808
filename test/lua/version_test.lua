-- Whoever changes a thing has to have seen its newest version.
local fault = require "fault"
local test = require "test"
local version = require "version"

local function asked(headers, body)
  return { headers = headers or {}, body = body or {} }
end

test.case("the version comes from the body", function()
  test.equal(version.expected(asked({}, { version = 3 })), 3)
end)

test.case("If-Match goes before the body", function()
  test.equal(version.expected(asked({ ["if-match"] = '"7"' }, { version = 3 })), 7)
end)

test.case("who names no version is told the field", function()
  local why = test.fails(function() return version.expected(asked()) end, "bad_input")
  test.equal(why.errors[1].field, "version")
end)

test.case("an If-Match that is no ETag of ours is told as well", function()
  for _, tag in ipairs { "3", "*", 'W/"3"', '"x"', '"0"', '"99999999999999"' } do
    local why = test.fails(function()
      return version.expected(asked { ["if-match"] = tag })
    end, "bad_input")
    test.equal(why.errors[1].field, "If-Match")
  end
end)

test.case("a lost update is 409, and 412 when If-Match named the version", function()
  test.equal(fault.status(version.lost(asked())), 409)
  test.equal(fault.status(version.lost(asked { ["if-match"] = '"3"' })), 412)
end)

test.case("answers carry the version as ETag", function()
  test.equal(version.headers({ version = 12 }, { Location = "/x" }),
    { ETag = '"12"', Location = "/x" })
end)

test.case("who has the newest version already is told so", function()
  local row = { version = 4 }
  local function fresh(tags)
    return version.fresh(asked { ["if-none-match"] = tags }, row)
  end
  test.equal(version.fresh(asked(), row), false)
  test.equal(fresh('"4"'), true)
  test.equal(fresh('"1", W/"4"'), true)
  test.equal(fresh("*"), true)
  test.equal(fresh('"3", "44"'), false)
end)

return test.suite()
