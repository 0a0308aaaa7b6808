/* SPDX-License-Identifier: MIT */
/* socket_feed.h -- broadcasts to the WebSocket connections of all processes that serve
 * the same service of the same lab.
 *
 * One feed per worker, beside its hub. A broadcast is always delivered in this process,
 * at once, and then published on a Redis channel, through the worker's pool. One worker
 * of each process listens to that channel and passes what others published to the hubs.
 *
 *     broadcast --> hub
 *               \-> PUBLISH --> Redis --> the other processes --> their hubs
 *
 * Nobody waits for Redis, and nobody is told when it fails: what is published while Redis
 * is down, or while another process is not subscribed, does not reach the others. At most
 * 256 messages or 4 MiB are on their way from a worker, 1 MiB each; more stay here.
 *
 * A message is "1 <origin> <size of the channel's name>:<name><text>". origin, 32 digits,
 * is the process's own, so that it does not deliver twice what it has sent. What does not
 * read like this, or is no UTF-8, is counted and dropped.
 *
 * The Redis channel is orrery:ws:<database>:<lab>/<service>: Redis itself does not keep
 * the messages of its databases apart.
 *
 * Series: websocket_fanout_messages_total by outcome: sent, failed (Redis did not take
 * it), dropped (too much or too large), received, malformed.
 */
#ifndef API_SOCKET_FEED_H
#define API_SOCKET_FEED_H

#include "base/slice.h"

#include <stdbool.h>

struct loop;
struct redis_pool;
struct socket_feed;
struct socket_hub;

#define SOCKET_ORIGIN_SIZE 32

struct socket_feed_config {
	struct loop *loop; /* these three are borrowed */
	struct socket_hub *hub;
	struct redis_pool *redis;
	const char *redis_url; /* the pool's, which is well-formed; copied */
	struct slice lab; /* may be empty */
	struct slice service;
	struct slice origin; /* SOCKET_ORIGIN_SIZE digits, the same for all workers */
};

/* Copies. */
struct socket_feed *socket_feed_create(const struct socket_feed_config *config);

/* After its pool, whose commands end in here, and before its loop. NULL is allowed. */
void socket_feed_destroy(struct socket_feed *feed);

/* Subscribes, and stays so: for one worker of a process. Again: nothing happens. */
void socket_feed_listen(struct socket_feed *feed);

/* Whether what others publish comes here now. */
bool socket_feed_listens(const struct socket_feed *feed);

/* Copies. */
void socket_feed_broadcast(struct socket_feed *feed, struct slice channel,
			   struct slice text);

#endif
