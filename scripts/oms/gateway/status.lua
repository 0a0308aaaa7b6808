-- How the upstreams are, as a page and as a list.
local json = require "json"
local shape = require "shape"
local template = require "template"

local status = {}

local address = shape.object {
  upstream = shape.text(1, 64),
  address = shape.text(0, 300), -- empty: the upstream has none
  up = shape.boolean,
  breaker = shape.one_of { "closed", "open", "half_open" },
  active = shape.integer(0, 2 ^ 31),
  idle = shape.integer(0, 2 ^ 31),
  attempts = shape.integer(0, 2 ^ 53),
  failures = shape.integer(0, 2 ^ 53),
  trouble = shape.optional(shape.text(0, 1000)),
}

status.shape = shape.object { upstreams = shape.list(address, 0, 10000) }

--- As JSON has it.
function status.list(addresses)
  return { upstreams = json.array { unpack(addresses) } }
end

local frame = [[
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="refresh" content="2">
<meta name="viewport" content="width=device-width">
<title>gateway</title>
<style>
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem; color: #222; background: #fff }
table { border-collapse: collapse }
th, td { padding: .3rem .9rem .3rem 0; text-align: left; border-bottom: 1px solid #ddd }
td.number, th.number { text-align: right }
.well { color: #17692f } .ill { color: #a11; font-weight: 600 }
</style>
</head>
<body>
<h1>gateway: {{well}} of {{count}} addresses are well</h1>
<table>
<tr><th>upstream<th>address<th>state<th>breaker<th class="number">active
<th class="number">idle<th class="number">attempts<th class="number">failures
<th>last trouble
]]

local row = [[
<tr><td>{{upstream}}<td>{{address}}<td class="{{class}}">{{state}}<td>{{breaker}}
<td class="number">{{active}}<td class="number">{{idle}}<td class="number">{{attempts}}
<td class="number">{{failures}}<td>{{trouble}}
]]

local foot = [[
</table>
<p>Of this worker, every two seconds anew. As JSON: <a href="/upstreams">/upstreams</a>;
series: <a href="/metrics">/metrics</a>.</p>
</body>
</html>
]]

local function is_well(entry)
  return entry.up and entry.breaker == "closed"
end

--- The page. Without scripts: a browser asks for it again by itself.
function status.page(addresses)
  local rows, well = {}, 0
  for i, entry in ipairs(addresses) do
    well = well + (is_well(entry) and 1 or 0)
    rows[i] = template.render(row, {
      upstream = entry.upstream, address = entry.address, breaker = entry.breaker,
      state = entry.up and "up" or "down", class = is_well(entry) and "well" or "ill",
      active = entry.active, idle = entry.idle, attempts = entry.attempts,
      failures = entry.failures, trouble = entry.trouble or "",
    }, template.html)
  end
  local head = template.render(frame, { well = well, count = #addresses })
  return head .. table.concat(rows) .. foot
end

return status
