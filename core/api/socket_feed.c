/* SPDX-License-Identifier: MIT */
#include "api/socket_feed.h"

#include "api/socket_hub.h"
#include "base/buf.h"
#include "base/check.h"
#include "base/utf8.h"
#include "loop/loop.h"
#include "store/redis_feed.h"
#include "store/redis_pool.h"
#include "store/redis_text.h"
#include "watch/metrics.h"

#include <stdlib.h>

#define MESSAGE_SIZE_MAX (1u << 20)
#define FLYING_MAX 256
#define FLYING_BYTES_MAX (4u << 20)
#define PUBLISH_MS 2000
#define CONNECT_TIMEOUT_MS 2000
#define QUIET_MS 3000

struct socket_feed {
	struct loop *loop;
	struct socket_hub *hub;
	struct redis_pool *redis;
	char *redis_url;
	struct buf channel; /* of Redis */
	char origin[SOCKET_ORIGIN_SIZE];
	struct redis_feed *others; /* NULL: this worker does not listen */
	size_t flying; /* messages that Redis has not answered yet */
	size_t flying_bytes;
};

struct flight {
	struct socket_feed *feed;
	size_t size;
};

static void count(struct socket_feed *feed, struct slice outcome)
{
	struct meter *meter = loop_observer(feed->loop)->meter;

	series_add(meter_own(meter, METRIC_websocket_fanout, 1, outcome), 1);
}

/* --- to the others ---------------------------------------------------------------- */

static void landed(void *context, const struct redis_value *value,
		   const struct fault *why)
{
	struct flight *flight = context;
	struct socket_feed *feed = flight->feed;

	feed->flying--;
	feed->flying_bytes -= flight->size;
	count(feed, why ? SLICE("failed") : SLICE("sent"));
	free(flight);
}

static void publish(struct socket_feed *feed, struct slice channel, struct slice text)
{
	struct buf message = { 0 };
	struct slice args[3] = { SLICE("PUBLISH"), buf_slice(&feed->channel) };
	struct flight *flight;

	buf_printf(&message, "1 %.*s %zu:", SOCKET_ORIGIN_SIZE, feed->origin,
		   channel.size);
	buf_append(&message, channel);
	buf_append(&message, text);
	args[2] = buf_slice(&message);
	flight = mem_zeroed(1, sizeof(*flight));
	*flight = (struct flight){ feed, message.size };
	feed->flying++;
	feed->flying_bytes += message.size;
	redis_pool_command(feed->redis, args, 3, mono_after_ms(clock_mono(), PUBLISH_MS),
			   NULL, landed, flight);
	buf_finish(&message);
}

void socket_feed_broadcast(struct socket_feed *feed, struct slice channel,
			   struct slice text)
{
	size_t size = channel.size + text.size;

	socket_hub_broadcast(feed->hub, channel, text);
	if (channel.size > SOCKET_CHANNEL_SIZE_MAX)
		return; /* nobody has joined it */
	if (size <= MESSAGE_SIZE_MAX && feed->flying < FLYING_MAX &&
	    feed->flying_bytes + size <= FLYING_BYTES_MAX)
		publish(feed, channel, text);
	else
		count(feed, SLICE("dropped"));
}

/* --- from the others -------------------------------------------------------------- */

struct message {
	struct slice origin;
	struct slice channel;
	struct slice text;
};

static bool read_message(struct slice from, struct message *message)
{
	struct slice version, size;
	unsigned long long channel_size;

	if (!slice_cut(&from, ' ', &version) || !slice_equal(version, SLICE("1")) ||
	    !slice_cut(&from, ' ', &message->origin) ||
	    message->origin.size != SOCKET_ORIGIN_SIZE || !slice_cut(&from, ':', &size) ||
	    !from.at || !slice_to_uint(size, &channel_size) ||
	    channel_size > SOCKET_CHANNEL_SIZE_MAX || channel_size > from.size)
		return false;
	message->channel = slice_of(from.at, (size_t)channel_size);
	message->text = slice_of(from.at + message->channel.size,
				 from.size - message->channel.size);
	return utf8_valid(message->text) == message->text.size;
}

static void heard(void *context, struct slice from)
{
	struct socket_feed *feed = context;
	struct message message;

	if (!read_message(from, &message)) {
		count(feed, SLICE("malformed"));
		return;
	}
	if (slice_equal(message.origin, slice_of(feed->origin, SOCKET_ORIGIN_SIZE)))
		return;
	count(feed, SLICE("received"));
	socket_hub_broadcast(feed->hub, message.channel, message.text);
}

void socket_feed_listen(struct socket_feed *feed)
{
	struct redis_feed_config config = {
		.url = feed->redis_url,
		.channel = buf_slice(&feed->channel),
		/* With what publish puts before channel and text. */
		.size_max = MESSAGE_SIZE_MAX + SOCKET_ORIGIN_SIZE + 32,
		.connect_timeout_ms = CONNECT_TIMEOUT_MS,
		.quiet_ms = QUIET_MS,
	};
	struct fault why;

	if (!feed->others)
		feed->others = redis_feed_create(feed->loop, &config, heard, feed, &why);
	check(feed->others != NULL);
}

bool socket_feed_listens(const struct socket_feed *feed)
{
	return feed->others && redis_feed_is_heard(feed->others);
}

/* --- life ------------------------------------------------------------------------- */

struct socket_feed *socket_feed_create(const struct socket_feed_config *config)
{
	struct socket_feed *feed = mem_zeroed(1, sizeof(*feed));
	struct redis_target target;
	struct fault why;
	bool well = redis_target_init(&target, config->redis_url, &why);

	check(well);
	check(config->origin.size == SOCKET_ORIGIN_SIZE);
	feed->loop = config->loop;
	feed->hub = config->hub;
	feed->redis = config->redis;
	feed->redis_url = mem_copy(config->redis_url, strlen(config->redis_url));
	memcpy(feed->origin, config->origin.at, SOCKET_ORIGIN_SIZE);
	buf_printf(&feed->channel, "orrery:ws:%d:%.*s/%.*s", target.database,
		   SLICE_PRINT(config->lab), SLICE_PRINT(config->service));
	redis_target_finish(&target);
	return feed;
}

void socket_feed_destroy(struct socket_feed *feed)
{
	if (!feed)
		return;
	check(feed->flying == 0);
	redis_feed_destroy(feed->others);
	buf_finish(&feed->channel);
	free(feed->redis_url);
	free(feed);
}
