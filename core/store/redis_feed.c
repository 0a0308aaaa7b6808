/* SPDX-License-Identifier: MIT */
#include "store/redis_feed.h"

#include "base/check.h"
#include "base/random.h"
#include "loop/loop.h"
#include "store/redis_link.h"
#include "store/redis_text.h"
#include "store/resolve.h"
#include "watch/log.h"

#include <hiredis/hiredis.h>
#include <stdlib.h>

#define BACKOFF_FIRST_MS 100
#define BACKOFF_MAX_MS 5000
#define REPLY_OVERHEAD 4096 /* of a message in RESP: the channel and sizes; and a read */

enum feed_state { FEED_closed, FEED_opening, FEED_asking, FEED_heard };

struct redis_feed {
	struct loop *loop;
	struct redis_target target;
	struct resolver *resolver;
	char *channel;
	struct slice subscribe; /* the command as RESP; from hiredis' allocator */
	size_t size_max;
	int connect_timeout_ms;
	int quiet_ms;
	redis_feed_heard_fn *heard;
	void *context;
	struct redis_link *link; /* NULL: none yet; while closed: to be buried */
	enum feed_state state;
	bool came; /* something, since the last look */
	bool asked; /* and not answered yet */
	bool told; /* the log knows that it is down */
	int backoff_ms;
	struct deferred open;
	struct timer reopen;
	struct timer quiet;
	struct tick tick;
	struct random random;
};

/* --- the connection --------------------------------------------------------------- */

static void try_open(void *context);

static void reopen(void *context)
{
	struct redis_feed *feed = context;

	loop_defer(feed->loop, &feed->open, try_open, feed);
}

/* The connection is of no use any more, or has gone; the next one comes later. */
static void give_up(struct redis_feed *feed, const char *words)
{
	double share = 0.5 + random_unit(&feed->random) / 2;

	redis_link_close(feed->link);
	timer_stop(feed->loop, &feed->quiet);
	if (!feed->told)
		log_printf(loop_observer(feed->loop)->log, LOG_warn,
			   "what others publish on %s is missed: %s", feed->channel,
			   words);
	feed->told = true;
	feed->state = FEED_closed;
	feed->backoff_ms = feed->backoff_ms ? feed->backoff_ms * 2 : BACKOFF_FIRST_MS;
	if (feed->backoff_ms > BACKOFF_MAX_MS)
		feed->backoff_ms = BACKOFF_MAX_MS;
	timer_start(feed->loop, &feed->reopen,
		    mono_after_ms(clock_mono(), (int64_t)(feed->backoff_ms * share)),
		    reopen, feed);
}

static void lost(void *context, const struct fault *why)
{
	give_up(context, why->detail);
}

static void ask(struct redis_feed *feed)
{
	feed->asked = true;
	redis_link_send(feed->link, feed->subscribe, feed);
}

static void look(void *context)
{
	struct redis_feed *feed = context;

	if (!feed->came && feed->asked) {
		give_up(feed, "Redis says nothing any more");
		return;
	}
	if (!feed->came)
		ask(feed);
	feed->came = false;
	timer_start(feed->loop, &feed->quiet, mono_after_ms(clock_mono(), feed->quiet_ms),
		    look, feed);
}

static void opened(void *context)
{
	struct redis_feed *feed = context;

	feed->state = FEED_asking;
	feed->came = false;
	ask(feed);
	timer_start(feed->loop, &feed->quiet, mono_after_ms(clock_mono(), feed->quiet_ms),
		    look, feed);
}

/* --- what comes ------------------------------------------------------------------- */

static void confirmed(struct redis_feed *feed)
{
	if (feed->state == FEED_heard)
		return;
	feed->state = FEED_heard;
	feed->backoff_ms = 0;
	if (feed->told)
		log_printf(loop_observer(feed->loop)->log, LOG_info,
			   "what others publish on %s is heard again", feed->channel);
	feed->told = false;
}

/* ["subscribe", channel, count] or ["message", channel, text]. */
static void replied(void *context, void *ticket, const struct redis_value *value,
		    struct slice error)
{
	struct redis_feed *feed = context;
	struct slice kind;

	if (!value) {
		char words[160];

		snprintf(words, sizeof(words), "Redis: %.*s", SLICE_PRINT(error));
		give_up(feed, words);
		return;
	}
	feed->came = true;
	if (value->type != REDIS_array || value->count != 3)
		return;
	kind = value->items[0].text;
	if (slice_equal(kind, SLICE("subscribe"))) {
		feed->asked = false;
		confirmed(feed);
	} else if (slice_equal(kind, SLICE("message")) && feed->state == FEED_heard) {
		feed->heard(feed->context, value->items[2].text);
	}
}

static void try_open(void *context)
{
	struct redis_feed *feed = context;
	struct redis_link_owner owner = { opened, replied, lost, feed };

	redis_link_destroy(feed->link);
	feed->state = FEED_opening;
	feed->link = redis_link_create(feed->loop, &feed->target, feed->resolver,
				       feed->connect_timeout_ms, &owner);
	redis_link_bound(feed->link, feed->size_max + REPLY_OVERHEAD);
}

static void flush(void *context)
{
	struct redis_feed *feed = context;

	if (feed->state == FEED_asking || feed->state == FEED_heard)
		redis_link_flush(feed->link);
}

/* --- life ------------------------------------------------------------------------- */

static struct slice subscribe_to(struct slice channel)
{
	const char *words[] = { "SUBSCRIBE", channel.at };
	const size_t sizes[] = { strlen(words[0]), channel.size };
	char *wire = NULL;
	int size = redisFormatCommandArgv(&wire, 2, words, sizes);

	check(size > 0);
	return slice_of(wire, (size_t)size);
}

struct redis_feed *redis_feed_create(struct loop *loop,
				     const struct redis_feed_config *config,
				     redis_feed_heard_fn *heard, void *context,
				     struct fault *why)
{
	struct redis_feed *feed = mem_zeroed(1, sizeof(*feed));

	if (!redis_target_init(&feed->target, config->url, why)) {
		free(feed);
		return NULL;
	}
	feed->loop = loop;
	feed->channel = mem_copy(config->channel.at, config->channel.size);
	feed->subscribe = subscribe_to(config->channel);
	feed->size_max = config->size_max;
	feed->connect_timeout_ms = config->connect_timeout_ms;
	feed->quiet_ms = config->quiet_ms;
	feed->heard = heard;
	feed->context = context;
	feed->resolver = resolver_create(loop);
	random_init_secure(&feed->random);
	loop_tick_add(loop, &feed->tick, flush, feed);
	loop_defer(loop, &feed->open, try_open, feed);
	return feed;
}

void redis_feed_destroy(struct redis_feed *feed)
{
	if (!feed)
		return;
	loop_undefer(&feed->open);
	timer_stop(feed->loop, &feed->reopen);
	timer_stop(feed->loop, &feed->quiet);
	loop_tick_remove(&feed->tick);
	redis_link_destroy(feed->link);
	resolver_destroy(feed->resolver);
	redis_target_finish(&feed->target);
	redisFreeCommand((char *)(size_t)feed->subscribe.at);
	free(feed->channel);
	free(feed);
}

bool redis_feed_is_heard(const struct redis_feed *feed)
{
	return feed->state == FEED_heard;
}

void redis_feed_check(const struct redis_feed *feed)
{
	bool connected = feed->state == FEED_asking || feed->state == FEED_heard;

	check(timer_started(&feed->quiet) == connected);
	check(!timer_started(&feed->reopen) || feed->state == FEED_closed);
	check(feed->state != FEED_heard || (feed->backoff_ms == 0 && !feed->told));
}
