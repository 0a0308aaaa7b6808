-- /ws: who may listen, what a client may say. Nobody listens for longer than his token
-- holds: the host sees to it.
local fault = require "fault"
local json = require "json"
local jwt = require "jwt"
local metrics = require "metrics"

local sockets = {
  summary = "Push what concerns the caller, as JSON messages", token = "access_token",
}

local current = metrics.gauge("websocket_connections_current",
  "Clients connected to /ws.")

local staff = { operator = true, admin = true }

--- Browsers cannot send headers with a WebSocket, so the token may stand in the query.
function sockets.accept(req)
  local claims, why
  if req.query[sockets.token] then
    claims, why = jwt.verify(req.query[sockets.token])
  else
    claims, why = jwt.of_request(req)
  end
  if not claims then
    return why
  elseif claims.role == "service" then
    return fault.new("denied", "this is for people", { status = 403 })
  end
  local channels = { "user:" .. claims.sub }
  if staff[claims.role] then
    channels[2] = "staff"
  end
  return {
    channels = channels, state = { user_id = claims.sub }, expires_at = claims.exp,
  }
end

function sockets.open(conn)
  current:add(1)
  conn:send { type = "hello", user_id = conn.state.user_id }
end

function sockets.close()
  current:add(-1)
end

function sockets.message(conn, text)
  local message = json.decode(text)
  if type(message) == "table" and message.type == "ping" then
    conn:send { type = "pong" }
  else
    conn:send { type = "error", detail = 'only {"type":"ping"} is understood here' }
  end
end

return sockets
