-- Templates have holes and nothing else.
local template = require "template"
local test = require "test"

test.case("holes are filled", function()
  test.equal(template.render("a {{x}} {{ y }} c", { x = 1, y = "%1" }), "a 1 %1 c")
end)

test.case("a value is not a template", function()
  test.equal(template.render("{{x}}", { x = "{{y}}", y = "no" }), "{{y}}")
end)

test.case("a missing value is an error", function()
  local ok, why = pcall(template.render, "{{x}}", {})
  test.equal(ok, false)
  test.match(why, "{{x}}")
end)

test.case("the holes of a text are known by name, each once", function()
  test.equal(template.holes("{{b}} {{ a }} {{b}} {c} {{}}"), { "a", "b" })
  test.equal(template.holes("none"), {})
end)

test.case("values are escaped where they go", function()
  test.equal(template.render("<b>{{x}}</b>", { x = "<i>&'\"" }, template.html),
    "<b>&lt;i&gt;&amp;&#39;&quot;</b>")
  test.equal(template.render("{{x}}", { x = "a\r\nBcc: b" }, template.line), "a Bcc: b")
end)

return test.suite()
