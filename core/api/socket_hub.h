/* SPDX-License-Identifier: MIT */
/* socket_hub.h -- which WebSocket connections joined which channel.
 *
 * One hub per worker knows the connections of that worker by id and by channel. The hubs
 * of a process are joined: a broadcast is posted once to every worker, its own included,
 * and reaches the connections that are there when it arrives. It never runs inside its
 * caller, so a connection that ends while it is sent to harms nobody.
 *
 * Invariants
 *   - an id is used once in the life of a hub: a late one finds nothing.
 *   - a channel is in the table while somebody has joined it.
 *   - the series websocket_open counts the connections.
 *   - everything belongs to the loop's thread; only the posted message is shared, and it
 * is never changed.
 */
#ifndef API_SOCKET_HUB_H
#define API_SOCKET_HUB_H

#include "base/slice.h"

#include <stdint.h>

struct loop;
struct socket_hub;
struct websocket;

#define SOCKET_CHANNELS_MAX 32 /* of one connection; the rest is left out */
#define SOCKET_CHANNEL_SIZE_MAX 128 /* of a channel's name; longer ones match nobody */

/* Gives a hub that is joined with itself only. Borrows loop. */
struct socket_hub *socket_hub_create(struct loop *loop);

/* When no thread turns the joined loops any more; before or after they are destroyed,
 * which delivers their last mail: that finds nobody here. The websockets are the caller's
 * to end. NULL is allowed. */
void socket_hub_destroy(struct socket_hub *hub);

/* Broadcasts of each reach all. Copies the array; before their loops run. */
void socket_hub_join(struct socket_hub *const *hubs, size_t count);

/* Borrows websocket until socket_hub_remove, which its `closed` calls; copies the names.
 * Gives the connection's id, from 1. The same channel twice counts once. */
uint64_t socket_hub_add(struct socket_hub *hub, struct websocket *websocket,
			const struct slice *channels, size_t count);

/* Nothing happens when the id is gone. */
void socket_hub_remove(struct socket_hub *hub, uint64_t id);

/* Copies. False when the connection is gone or its queue is full. */
bool socket_hub_send(struct socket_hub *hub, uint64_t id, struct slice text);

/* Begins the closing handshake; the connection stays until its `closed` removes it.
 * Copies reason. False when it is gone. */
bool socket_hub_close(struct socket_hub *hub, uint64_t id, int code, struct slice reason);

/* Closes all of this hub's connections: the worker is ending. */
void socket_hub_close_all(struct socket_hub *hub, int code);

/* Copies. */
void socket_hub_broadcast(struct socket_hub *hub, struct slice channel,
			  struct slice text);

size_t socket_hub_count(const struct socket_hub *hub);

/* Invariants, for tests. */
void socket_hub_check(const struct socket_hub *hub);

#endif
