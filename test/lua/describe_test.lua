-- A description says in one line what a shape takes, and all that a service offers.
local app = require "app"
local describe = require "describe"
local json = require "json"
local shape = require "shape"
local test = require "test"

local line = shape.object { sku = shape.text(1, 32), qty = shape.integer(-1, 99) }
local order = shape.object {
  lines = shape.list(line, 1, 50),
  note = shape.optional(shape.text(0, 80), "none"),
  mail = shape.optional(shape.email),
}

test.case("a shape is described in one line", function()
  test.equal(shape.describe(line), "{qty: integer -1..99, sku: text 1..32}")
  test.equal(shape.describe(order),
    "{lines: [{qty: integer -1..99, sku: text 1..32}] 1..50, "
    .. "mail?: an e-mail address, note?: text 0..80 = none}")
  test.equal(shape.describe(shape.object({ id = shape.uuid }, "drop")), "{id: uuid, ...}")
end)

test.case("every kind of shape has a description", function()
  test.equal(shape.describe(shape.one_of { "red", "green" }), "red | green")
  test.equal(shape.describe(shape.boolean), "boolean")
  test.equal(shape.describe(shape.number), "number")
  test.equal(shape.describe(shape.any), "anything")
  test.equal(shape.describe(shape.time), "time")
  test.equal(shape.describe(shape.map(shape.number)), "{any: number}")
  local example = shape.example(shape.optional(shape.number, 2), 1)
  test.equal(shape.describe(shape.object { n = example }), "{n?: number = 2}")
  test.equal(shape.describe { check = function() end }, "what its code accepts")
end)

local function sample()
  local s = app.service("sample", { auth = "bearer" })
  local path = shape.object { id = shape.uuid }
  s:get("/open/:id", { auth = false, path = path }, function() end)
  s:post("/orders", { body = line, once_by = "idempotency-key" }, function() end)
  s:delete("/orders", { auth = { "admin", "clerk" } }, function() end)
  s:ws("/ws", {})
  s:consume("sample.orders", { bind = { "order.*", "user.gone" } }, function() end)
  s:every("sweep", 0.5, function() end)
  return s
end

test.case("a service is described as text", function()
  test.equal(describe.text(sample()), table.concat({
    "sample",
    "routes",
    "  GET    /open/:id",
    "         path  {id: uuid}",
    "  POST   /orders  (auth bearer, once by idempotency-key)",
    "         body  {qty: integer -1..99, sku: text 1..32}",
    "  DELETE /orders  (auth admin or clerk)",
    "sockets",
    "  WS     /ws",
    "consumers",
    "  sample.orders  of order.*, user.gone, prefetch 16",
    "jobs",
    "  sweep  every 0.5 s",
    "",
  }, "\n"))
end)

test.case("a service is described as plain values", function()
  local plain = json.decode(json.encode(describe.service(sample())))
  test.equal(plain.routes[2], {
    method = "POST", path = "/orders", auth = "bearer", once_by = "idempotency-key",
    shapes = { body = "{qty: integer -1..99, sku: text 1..32}" },
  })
  test.equal(plain.routes[3].auth, { "admin", "clerk" })
  test.equal(plain.consumers[1].bind, { "order.*", "user.gone" })
end)

test.case("a service made without lib/app is described as far as it goes", function()
  local bare = { name = "bare", routes = { { method = "GET", path = "/" } } }
  test.equal(describe.text(bare), "bare\nroutes\n  GET    /\n")
end)

return test.suite()
