-- /ws: who may listen, what a client may say, and what ends with a token.
--
-- Those whose token has expired are closed with 4001: by their next message, or by the
-- job, which knows the connections of worker 0 that opened or spoke in this generation.
local clock = require "clock"
local fault = require "fault"
local json = require "json"
local jwt = require "jwt"
local metrics = require "metrics"

local sockets = { summary = "Push what concerns the caller, as JSON messages" }

local current = metrics.gauge("websocket_connections_current",
  "Clients connected to /ws.")

local expired = 4001 -- RFC 6455, 7.4.2: from 4000 on an application's own

local staff = { operator = true, admin = true }
local known = {} -- by id

--- Browsers cannot send headers with a WebSocket, so the token may stand in the query.
function sockets.accept(req)
  local claims, why
  if req.query.access_token then
    claims, why = jwt.verify(req.query.access_token)
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
    channels = channels, state = { user_id = claims.sub, expires_at = claims.exp },
  }
end

function sockets.open(conn)
  current:add(1)
  known[conn.id] = conn
  conn:send { type = "hello", user_id = conn.state.user_id }
end

function sockets.close(conn)
  current:add(-1)
  known[conn.id] = nil
end

-- One that opened before there was such a state has no end.
local function is_over(conn)
  return (conn.state.expires_at or math.huge) <= clock.now()
end

function sockets.message(conn, text)
  known[conn.id] = conn -- one of the generation before did not open here
  if is_over(conn) then
    return conn:close(expired)
  end
  local message = json.decode(text)
  if type(message) == "table" and message.type == "ping" then
    conn:send { type = "pong" }
  else
    conn:send { type = "error", detail = 'only {"type":"ping"} is understood here' }
  end
end

--- Closes those whose token has expired.
function sockets.expire()
  for id, conn in pairs(known) do
    if is_over(conn) then
      known[id] = nil
      conn:close(expired)
    end
  end
end

return sockets
