/* SPDX-License-Identifier: MIT */
#include "api/socket_hub.h"

#include "base/check.h"
#include "base/digest.h"
#include "http/websocket.h"
#include "loop/loop.h"
#include "watch/metrics.h"

#include <stdatomic.h>
#include <stdlib.h>

#define SLOTS_MIN 64 /* a power of two */

/* A connection's place in a channel. */
struct membership {
	struct list member; /* in channel->members */
	struct channel *channel;
	struct connection *connection;
};

struct connection {
	struct connection *next; /* in its slot of hub->connections */
	uint64_t id;
	struct websocket *websocket;
	size_t count;
	struct membership memberships[];
};

struct channel {
	struct channel *next; /* in its slot of hub->channels */
	uint64_t hash;
	struct list members;
	size_t size;
	char name[];
};

struct socket_hub {
	atomic_size_t holders; /* its owner, and deliveries on their way to it */
	bool ended; /* its owner has left */
	struct loop *loop;
	struct series *open;
	struct socket_hub **joined; /* this one included */
	size_t joined_count;
	uint64_t last_id;
	struct connection **connections;
	size_t connection_slots;
	size_t connection_count;
	struct channel **channels;
	size_t channel_slots;
	size_t channel_count;
};

/* One broadcast, shared by the hubs it goes to. The texts follow the deliveries. */
struct broadcast {
	atomic_size_t left; /* deliveries to come */
	struct slice channel;
	struct slice text;
	struct delivery {
		struct mail mail;
		struct socket_hub *hub;
		struct broadcast *broadcast;
	} deliveries[];
};

/* --- finding ---------------------------------------------------------------------- */

static uint64_t hash_name(struct slice name)
{
	return digest_add(DIGEST_START, name.at, name.size);
}

static struct connection **find_connection(const struct socket_hub *hub, uint64_t id)
{
	struct connection **at = &hub->connections[id & (hub->connection_slots - 1)];

	while (*at && (*at)->id != id)
		at = &(*at)->next;
	return at;
}

static struct channel **find_channel(const struct socket_hub *hub, struct slice name)
{
	uint64_t hash = hash_name(name);
	struct channel **at = &hub->channels[hash & (hub->channel_slots - 1)];

	while (*at && !((*at)->hash == hash &&
			slice_equal(slice_of((*at)->name, (*at)->size), name)))
		at = &(*at)->next;
	return at;
}

static void grow_connections(struct socket_hub *hub)
{
	size_t slots = hub->connection_slots * 2;
	struct connection **grown;

	if (hub->connection_count <= hub->connection_slots)
		return;
	grown = mem_zeroed(slots, sizeof(struct connection *));
	for (size_t i = 0; i < hub->connection_slots; i++)
		while (hub->connections[i]) {
			struct connection *one = hub->connections[i];

			hub->connections[i] = one->next;
			one->next = grown[one->id & (slots - 1)];
			grown[one->id & (slots - 1)] = one;
		}
	free(hub->connections);
	hub->connections = grown;
	hub->connection_slots = slots;
}

static void grow_channels(struct socket_hub *hub)
{
	size_t slots = hub->channel_slots * 2;
	struct channel **grown;

	if (hub->channel_count <= hub->channel_slots)
		return;
	grown = mem_zeroed(slots, sizeof(struct channel *));
	for (size_t i = 0; i < hub->channel_slots; i++)
		while (hub->channels[i]) {
			struct channel *one = hub->channels[i];

			hub->channels[i] = one->next;
			one->next = grown[one->hash & (slots - 1)];
			grown[one->hash & (slots - 1)] = one;
		}
	free(hub->channels);
	hub->channels = grown;
	hub->channel_slots = slots;
}

/* --- joining and leaving channels ------------------------------------------------- */

static struct channel *channel_get(struct socket_hub *hub, struct slice name)
{
	struct channel **at = find_channel(hub, name);
	struct channel *channel = *at;

	if (channel)
		return channel;
	channel = mem_zeroed(1, sizeof(*channel) + name.size);
	channel->hash = hash_name(name);
	channel->size = name.size;
	if (name.size)
		memcpy(channel->name, name.at, name.size);
	list_init(&channel->members);
	*at = channel;
	hub->channel_count++;
	grow_channels(hub);
	return channel;
}

static bool has_joined(const struct connection *connection, const struct channel *channel)
{
	for (size_t i = 0; i < connection->count; i++)
		if (connection->memberships[i].channel == channel)
			return true;
	return false;
}

static void join(struct socket_hub *hub, struct connection *connection, struct slice name)
{
	struct membership *membership = &connection->memberships[connection->count];
	struct channel *channel = channel_get(hub, name);

	if (has_joined(connection, channel))
		return;
	membership->channel = channel;
	membership->connection = connection;
	list_append(&channel->members, &membership->member);
	connection->count++;
}

static void leave(struct socket_hub *hub, struct membership *membership)
{
	struct channel *channel = membership->channel;
	struct channel **at;

	list_remove(&membership->member);
	if (!list_empty(&channel->members))
		return;
	at = find_channel(hub, slice_of(channel->name, channel->size));
	*at = channel->next;
	hub->channel_count--;
	free(channel);
}

uint64_t socket_hub_add(struct socket_hub *hub, struct websocket *websocket,
			const struct slice *channels, size_t count)
{
	struct connection *connection, **at;

	if (count > SOCKET_CHANNELS_MAX)
		count = SOCKET_CHANNELS_MAX;
	connection = mem_zeroed(1, sizeof(*connection) +
					   count * sizeof(connection->memberships[0]));
	connection->id = ++hub->last_id;
	connection->websocket = websocket;
	for (size_t i = 0; i < count; i++)
		if (channels[i].size <= SOCKET_CHANNEL_SIZE_MAX)
			join(hub, connection, channels[i]);
	at = find_connection(hub, connection->id);
	*at = connection;
	hub->connection_count++;
	grow_connections(hub);
	series_add(hub->open, 1);
	return connection->id;
}

static void unlink_connection(struct socket_hub *hub, struct connection **at)
{
	struct connection *connection = *at;

	*at = connection->next;
	hub->connection_count--;
	for (size_t i = 0; i < connection->count; i++)
		leave(hub, &connection->memberships[i]);
	free(connection);
}

void socket_hub_remove(struct socket_hub *hub, uint64_t id)
{
	struct connection **at = find_connection(hub, id);

	if (!*at)
		return;
	unlink_connection(hub, at);
	series_add(hub->open, -1);
}

/* --- sending ---------------------------------------------------------------------- */

bool socket_hub_send(struct socket_hub *hub, uint64_t id, struct slice text)
{
	struct connection *connection = *find_connection(hub, id);

	return connection && websocket_send(connection->websocket, text);
}

bool socket_hub_close(struct socket_hub *hub, uint64_t id, int code, struct slice reason)
{
	struct connection *connection = *find_connection(hub, id);

	if (connection)
		websocket_close(connection->websocket, code, reason);
	return connection != NULL;
}

/* Gives the ids of all connections, in no order; freed by the caller. */
static uint64_t *all_ids(const struct socket_hub *hub, size_t *count)
{
	uint64_t *ids = mem_zeroed(hub->connection_count + 1, sizeof(*ids));

	*count = 0;
	for (size_t i = 0; i < hub->connection_slots; i++)
		for (const struct connection *one = hub->connections[i]; one;
		     one = one->next)
			ids[(*count)++] = one->id;
	return ids;
}

void socket_hub_close_all(struct socket_hub *hub, int code)
{
	size_t count;
	uint64_t *ids = all_ids(hub, &count);

	for (size_t i = 0; i < count; i++)
		socket_hub_close(hub, ids[i], code, SLICE(""));
	free(ids);
}

/* Sending may end a connection, and with the last one the channel: so first who, then
 * send. */
static void send_to_channel(struct socket_hub *hub, struct slice name, struct slice text)
{
	struct channel *channel = *find_channel(hub, name);
	uint64_t *ids;
	size_t count = 0, at = 0;

	if (!channel)
		return;
	for (const struct list *m = channel->members.next; m != &channel->members;
	     m = m->next)
		count++;
	ids = mem_zeroed(count, sizeof(*ids));
	for (struct list *m = channel->members.next; m != &channel->members; m = m->next)
		ids[at++] = list_of(m, struct membership, member)->connection->id;
	for (size_t i = 0; i < count; i++)
		socket_hub_send(hub, ids[i], text);
	free(ids);
}

static void let_go(struct socket_hub *hub)
{
	if (atomic_fetch_sub_explicit(&hub->holders, 1, memory_order_acq_rel) > 1)
		return;
	free(hub->connections);
	free(hub->channels);
	free(hub->joined);
	free(hub);
}

static void deliver(void *context)
{
	struct delivery *delivery = context;
	struct broadcast *broadcast = delivery->broadcast;

	if (!delivery->hub->ended)
		send_to_channel(delivery->hub, broadcast->channel, broadcast->text);
	let_go(delivery->hub);
	if (atomic_fetch_sub_explicit(&broadcast->left, 1, memory_order_acq_rel) == 1)
		free(broadcast);
}

void socket_hub_broadcast(struct socket_hub *hub, struct slice channel, struct slice text)
{
	size_t count = hub->joined_count;
	size_t head = sizeof(struct broadcast) + count * sizeof(struct delivery);
	struct broadcast *broadcast;
	char *texts;

	if (channel.size > SOCKET_CHANNEL_SIZE_MAX)
		return;
	broadcast = mem_zeroed(1, head + channel.size + text.size);
	texts = (char *)broadcast + head;
	if (channel.size)
		memcpy(texts, channel.at, channel.size);
	if (text.size)
		memcpy(texts + channel.size, text.at, text.size);
	broadcast->channel = slice_of(texts, channel.size);
	broadcast->text = slice_of(texts + channel.size, text.size);
	atomic_store_explicit(&broadcast->left, count, memory_order_relaxed);
	/* The last post may be the end of the broadcast: nothing of it is read after
	 * that. */
	for (size_t i = 0; i < count; i++) {
		struct delivery *delivery = &broadcast->deliveries[i];

		delivery->hub = hub->joined[i];
		delivery->broadcast = broadcast;
		atomic_fetch_add_explicit(&delivery->hub->holders, 1,
					  memory_order_relaxed);
		loop_post(delivery->hub->loop, &delivery->mail, deliver, delivery);
	}
}

/* --- life ------------------------------------------------------------------------- */

struct socket_hub *socket_hub_create(struct loop *loop)
{
	struct socket_hub *hub = mem_zeroed(1, sizeof(*hub));

	atomic_store_explicit(&hub->holders, 1, memory_order_relaxed);
	hub->loop = loop;
	hub->open = meter_own(loop_observer(loop)->meter, METRIC_websocket_open, 0);
	hub->connection_slots = hub->channel_slots = SLOTS_MIN;
	hub->connections = mem_zeroed(SLOTS_MIN, sizeof(struct connection *));
	hub->channels = mem_zeroed(SLOTS_MIN, sizeof(struct channel *));
	hub->joined = mem_copy(&hub, sizeof(struct socket_hub *));
	hub->joined_count = 1;
	return hub;
}

void socket_hub_join(struct socket_hub *const *hubs, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		free(hubs[i]->joined);
		hubs[i]->joined = mem_copy(hubs, count * sizeof(struct socket_hub *));
		hubs[i]->joined_count = count;
	}
}

void socket_hub_destroy(struct socket_hub *hub)
{
	if (!hub)
		return;
	/* Without the series: the meter may be gone. */
	for (size_t i = 0; i < hub->connection_slots; i++)
		while (hub->connections[i])
			unlink_connection(hub, &hub->connections[i]);
	hub->ended = true;
	let_go(hub);
}

size_t socket_hub_count(const struct socket_hub *hub)
{
	return hub->connection_count;
}

void socket_hub_check(const struct socket_hub *hub)
{
	size_t connections = 0, channels = 0, joined = 0, members = 0;

	for (size_t i = 0; i < hub->connection_slots; i++)
		for (const struct connection *one = hub->connections[i]; one;
		     one = one->next) {
			check(one->id >= 1 && one->id <= hub->last_id);
			connections++;
			joined += one->count;
		}
	for (size_t i = 0; i < hub->channel_slots; i++)
		for (const struct channel *one = hub->channels[i]; one; one = one->next) {
			check(!list_empty(&one->members));
			channels++;
			for (const struct list *m = one->members.next; m != &one->members;
			     m = m->next)
				members++;
		}
	check(connections == hub->connection_count);
	check(channels == hub->channel_count);
	check(joined == members);
}
