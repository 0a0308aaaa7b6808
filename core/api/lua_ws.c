/* SPDX-License-Identifier: MIT */
/* native.ws -- sending to all WebSocket connections of a channel. What a handler does
 * with one connection is in socket.c.
 */
#include "api/api.h"

#include "api/socket_feed.h"
#include "api/socket_hub.h"
#include "base/utf8.h"

#include <lauxlib.h>

/* ws.broadcast(channel, text) -> : to every connection that joined the channel, of this
 * process and of those that serve the same */
static int l_ws_broadcast(lua_State *L)
{
	const struct api *api = api_of(L);
	struct slice channel = api_check_slice(L, 1), text = api_check_slice(L, 2);

	luaL_argcheck(L, utf8_valid(text) == text.size, 2, "this is not UTF-8");
	if (!api->sockets)
		return api_absent(L, "WebSocket connections", "a socket in its script");
	if (api->feed)
		socket_feed_broadcast(api->feed, channel, text);
	else
		socket_hub_broadcast(api->sockets, channel, text);
	return 0;
}

void api_open_ws(lua_State *L, const struct api *api)
{
	static const luaL_Reg calls[] = { { "broadcast", l_ws_broadcast },
					  { NULL, NULL } };

	api_module(L, api, calls, NULL);
}
