-- Every service answers with the document of its own routes.
local app = require "app"
local json = require "json"
local openapi = require "openapi"
local shape = require "shape"
local test = require "test"

local line = shape.object { sku = shape.text(1, 8), count = shape.integer(1, 99) }
local thing = shape.object {
  id = shape.uuid, lines = shape.list(line, 1, 3), version = shape.integer(1, 9),
}
local change = shape.object { lines = shape.list(line, 1, 3),
  version = shape.optional(shape.integer(1, 9)) }
local by_id = shape.object { id = shape.uuid }

local function sample()
  local s = app.service("sample", { auth = "bearer" })
  s:get("/api/v1/things", { auth = false, summary = "Lists things",
    query = shape.object { limit = shape.optional(shape.integer(1, 100), 20) },
    answers = { [200] = shape.list(thing, 0, 100) } }, function() end)
  s:post("/api/v1/things", { body = line, once_by = "idempotency-key",
    answers = { [201] = thing }, faults = { 409 } }, function() end)
  s:get("/api/v1/things/:id", { path = by_id, faults = { 304, 404 },
    answers = { [200] = thing } }, function() end)
  s:put("/api/v1/things/:id", { path = by_id, body = change, auth = { "admin" },
    answers = { [204] = false }, faults = { 404, 409, 412 } }, function() end)
  s:delete("/api/v1/things/:name", function() end)
  s:ws("/ws", { summary = "Tells", faults = { 422 }, token = "access_token" })
  s:ws("/open", { summary = "Tells everybody" })
  return s
end

local document = json.decode(json.encode(openapi.document(sample())))
local paths = document.paths

local function named(list)
  local names = {}
  for name in pairs(list) do
    names[#names + 1] = name
  end
  table.sort(names)
  return table.concat(names, " ")
end

test.case("the document is OpenAPI 3.1 and names the service", function()
  test.equal({ document.openapi, document.info.title }, { "3.1.0", "sample" })
  test.equal(document.servers, { { url = "/" } })
end)

test.case("paths are templates, the host's own stand beside them", function()
  test.equal(named(paths), "/api/v1/things /api/v1/things/{id} /api/v1/things/{name} "
    .. "/health /metrics /open /openapi.json /ready /ws")
end)

test.case("an operation has its name, its summary and who may call it", function()
  local put = paths["/api/v1/things/{id}"].put
  test.equal(put.operationId, "putThingsById")
  test.equal({ put.security, put["x-roles"] }, { { { bearer = {} } }, { "admin" } })
  local get = paths["/api/v1/things"].get
  test.equal({ get.summary, #get.security, get["x-roles"] }, { "Lists things", 0 })
end)

test.case("path, query and headers are parameters", function()
  local limit = paths["/api/v1/things"].get.parameters[1]
  test.equal(limit, { ["in"] = "query", name = "limit", required = false,
    schema = { type = "integer", minimum = 1, maximum = 100, default = 20 } })
  local key = paths["/api/v1/things"].post.parameters[1]
  test.equal({ key["in"], key.name, key.required, key.schema.maxLength },
    { "header", "Idempotency-Key", true, 200 })
  local id, tag = unpack(paths["/api/v1/things/{id}"].put.parameters)
  test.equal({ id.name, id.required, tag.name, tag.required },
    { "id", true, "If-Match", false })
  test.equal(paths["/api/v1/things/{id}"].get.parameters[2].name, "If-None-Match")
  test.equal(paths["/api/v1/things/{name}"].delete.parameters[1].schema,
    { type = "string", minLength = 1 })
end)

test.case("answers have their bodies, faults the problem document", function()
  local post = paths["/api/v1/things"].post
  test.equal(named(post.responses), "201 400 401 409 413 415 422 500 503 504")
  test.equal(post.responses["409"], { ["$ref"] = "#/components/responses/Fault409" })
  local fault = document.components.responses.Fault409
  test.equal(fault.content["application/problem+json"].schema,
    { ["$ref"] = "#/components/schemas/Problem" })
  test.equal(post.responses["201"].content["application/json"].schema,
    { ["$ref"] = "#/components/schemas/Thing" })
  test.equal(named(post.responses["201"].headers), "ETag Location")
  local put = paths["/api/v1/things/{id}"].put.responses
  test.equal({ put["204"].content, named(put["204"].headers) }, { nil, "ETag" })
  test.equal(document.components.responses.Fault304.content, nil)
end)

test.case("what is used twice is a component", function()
  test.equal(named(document.components.schemas), "Problem Ready Thing ThingLine")
end)

test.case("a body that is needed is marked so", function()
  local body = paths["/api/v1/things/{id}"].put.requestBody
  test.equal(body.required, true)
  test.equal(body.content["application/json"].schema.required, { "lines" })
end)

test.case("a WebSocket is a GET that switches protocols", function()
  local ws = paths["/ws"].get
  test.equal(ws.summary, "Tells")
  test.equal(named(ws.responses), "101 400 401 403 422 426 500 503 504")
  test.equal({ ws.security, paths["/open"].get.security },
    { { { bearer = {} }, { access_token = {} } }, {} })
  test.equal(document.components.securitySchemes.access_token,
    { type = "apiKey", ["in"] = "query", name = "access_token" })
end)

test.case("a service answers with it, and knows who has it already", function()
  local s = app.service "other"
  local answer = test.call(s, "GET /openapi.json")
  test.equal(answer.status, 200)
  test.equal(answer.headers["Content-Type"], "application/json")
  test.equal(json.decode(answer.body).info.title, "other")
  local again = test.call(s, "GET /openapi.json", {
    headers = { ["If-None-Match"] = answer.headers.ETag },
  })
  test.equal({ again.status, again.body }, { 304 })
end)

test.case("two operations never share a name", function()
  local s = app.service "twins"
  s:get("/a/b", function() end)
  s:get("/a-b", function() end)
  local both = openapi.document(s).paths
  test.equal(both["/a/b"].get.operationId, "getAB")
  test.equal(both["/a-b"].get.operationId, "getAB2")
end)

test.case("the path of metrics that Spring has is told where it is answered", function()
  local conf = require "conf"
  test.replace(conf, "get", function(name) return name == "dialect" and "micrometer" end)
  local has = openapi.document(app.service "x").paths["/actuator/prometheus"]
  test.match(named(has.get.responses["200"].content), "text/plain")
end)

return test.suite()
