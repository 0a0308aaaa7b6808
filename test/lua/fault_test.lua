-- One vocabulary of failure.
local fault = require "fault"
local test = require "test"

test.case("a fault has a kind, and its status unless it says another", function()
  test.equal(fault.status(fault.new("missing", "gone")), 404)
  test.equal(fault.status(fault.new("refused", "no", { status = 402 })), 402)
  test.equal(pcall(fault.new, "sad", "no such kind"), false)
end)

test.case("only known kinds are faults", function()
  test.equal(fault.is(fault.new("limit", "x")), true)
  test.equal(fault.is { kind = "limit" }, true)
  test.equal(fault.is { kind = "circus" }, false)
  test.equal(fault.is "limit", false)
  test.equal(fault.is(nil), false)
end)

test.case("catch turns a raise into nil, why, and lets a bug pass", function()
  local value, why = fault.catch(function() fault.raise("timeout", "late") end)
  test.equal({ value, why.kind }, { nil, "timeout" })
  test.equal(fault.catch(function() return 5 end), 5)
  test.equal(pcall(fault.catch, function() error("bug") end), false)
end)

test.case("a problem document has what the standard asks for", function()
  local status, document, headers = fault.problem(fault.new("bad_input", "no", {
    errors = { { field = "a", message = "b" } }, headers = { ["X-Y"] = "z" },
  }))
  test.equal(status, 422)
  test.equal({ document.type, document.title, document.status },
    { "about:blank", "Invalid input", 422 })
  test.equal({ document.kind, document.detail }, { "bad_input", "no" })
  test.equal(document.errors[1].field, "a")
  test.equal(document.headers, nil)
  test.equal(headers["X-Y"], "z")
end)

test.case("a bug tells nothing", function()
  local status, document = fault.problem("file.lua:3: attempt to index nil")
  test.equal({ status, document.kind, document.detail },
    { 500, "internal", "the handler failed" })
end)

return test.suite()
