/* SPDX-License-Identifier: MIT */
#include "store/amqp_feed.h"

#include "base/check.h"
#include "watch/log.h"

#include <amqp.h>
#include <amqp_framing.h>
#include <stdio.h>
#include <stdlib.h>

#define TAG "orrery" /* of our consumer; one on each channel */

void amqp_in_free(struct amqp_in *in)
{
	list_remove(&in->place);
	amqp_life_drop(in->life);
	arena_finish(&in->arena);
	free(in);
}

bool amqp_in_unwanted(const struct amqp_in *in)
{
	return atomic_load(&in->feed->subscription.left);
}

/* --- declaring -------------------------------------------------------------------- */

static bool declare_queue(struct amqp_feed *feed, struct amqp_link *link,
			  unsigned delivery_limit, struct fault *why)
{
	amqp_connection_state_t connection = link->connection;
	amqp_channel_t channel = (amqp_channel_t)feed->channel;
	struct slice queue = feed->config.queue;
	char dead[264];
	amqp_table_entry_t entries[4] = {
		{ .key = amqp_cstring_bytes("x-queue-type"),
		  .value = { .kind = AMQP_FIELD_KIND_UTF8,
			     .value.bytes = amqp_cstring_bytes("quorum") } },
		{ .key = amqp_cstring_bytes("x-delivery-limit"),
		  .value = { .kind = AMQP_FIELD_KIND_I32,
			     .value.i32 = (int32_t)delivery_limit } },
		{ .key = amqp_cstring_bytes("x-dead-letter-exchange"),
		  .value = { .kind = AMQP_FIELD_KIND_UTF8,
			     .value.bytes = amqp_cstring_bytes("") } },
		{ .key = amqp_cstring_bytes("x-dead-letter-routing-key"),
		  .value = { .kind = AMQP_FIELD_KIND_UTF8 } },
	};
	amqp_table_t arguments = { 4, entries };

	snprintf(dead, sizeof dead, "%.*s.dead", SLICE_PRINT(queue));
	entries[3].value.value.bytes = amqp_cstring_bytes(dead);
	amqp_queue_declare(connection, channel, amqp_link_bytes(queue), 0, 1, 0, 0,
			   arguments);
	return amqp_link_answer(link, feed->channel, why);
}

/* After binding: who finds it there may publish, and nothing is lost. */
static bool declare_dead(struct amqp_feed *feed, struct amqp_link *link,
			 struct fault *why)
{
	char dead[264];

	snprintf(dead, sizeof dead, "%.*s.dead", SLICE_PRINT(feed->config.queue));
	amqp_queue_declare(link->connection, (amqp_channel_t)feed->channel,
			   amqp_cstring_bytes(dead), 0, 1, 0, 0, amqp_empty_table);
	return amqp_link_answer(link, feed->channel, why);
}

static bool has_key(const struct amqp_consumer_config *config, struct slice key)
{
	for (size_t i = 0; i < config->key_count; i++)
		if (slice_equal(config->keys[i], key))
			return true;
	return false;
}

static bool feed_bind(struct amqp_feed *feed, struct amqp_link *link, struct fault *why)
{
	const struct amqp_consumer_config *config = &feed->config;

	if (!config->exchange.size)
		return true; /* the default exchange reaches every queue by its name */
	if (!amqp_link_exchange(link, feed->channel, config->exchange, why))
		return false;
	for (size_t i = 0; i < config->key_count; i++) {
		amqp_queue_bind(link->connection, (amqp_channel_t)feed->channel,
				amqp_link_bytes(config->queue),
				amqp_link_bytes(config->exchange),
				amqp_link_bytes(config->keys[i]), amqp_empty_table);
		if (!amqp_link_answer(link, feed->channel, why))
			return false;
	}
	for (size_t i = 0; i < config->drop_key_count; i++) {
		if (has_key(config, config->drop_keys[i]))
			continue;
		amqp_queue_unbind(
			link->connection, (amqp_channel_t)feed->channel,
			amqp_link_bytes(config->queue), amqp_link_bytes(config->exchange),
			amqp_link_bytes(config->drop_keys[i]), amqp_empty_table);
		if (!amqp_link_answer(link, feed->channel, why))
			return false;
	}
	return true;
}

static bool feed_consume(struct amqp_feed *feed, struct amqp_link *link,
			 struct fault *why)
{
	amqp_connection_state_t connection = link->connection;
	amqp_channel_t channel = (amqp_channel_t)feed->channel;

	amqp_basic_qos(connection, channel, 0, (uint16_t)feed->config.prefetch, 0);
	if (!amqp_link_answer(link, feed->channel, why))
		return false;
	amqp_basic_consume(connection, channel, amqp_link_bytes(feed->config.queue),
			   amqp_cstring_bytes(TAG), 0, 0, 0, amqp_empty_table);
	return amqp_link_answer(link, feed->channel, why);
}

void amqp_feed_close(struct amqp_feed *feed, int retry_ms)
{
	feed->open = false;
	feed->open_at = mono_after_ms(clock_mono(), retry_ms);
	if (feed->partial)
		amqp_in_free(feed->partial);
	feed->partial = NULL;
}

bool amqp_feed_open(struct amqp_feed *feed, struct amqp_link *link,
		    unsigned delivery_limit)
{
	struct fault why;

	feed->epoch++;
	feed->open = amqp_link_open_channel(link, feed->channel, &why) &&
		     declare_queue(feed, link, delivery_limit, &why) &&
		     feed_bind(feed, link, &why) && declare_dead(feed, link, &why) &&
		     feed_consume(feed, link, &why);
	if (feed->open)
		return true;
	amqp_feed_close(feed, AMQP_FEED_RETRY_MS);
	log_printf(link->observer->log, LOG_error, "cannot consume from %.*s: %s",
		   SLICE_PRINT(feed->config.queue), why.detail);
	return false;
}

void amqp_feed_cancel(struct amqp_feed *feed, struct amqp_link *link)
{
	struct fault why;

	amqp_basic_cancel(link->connection, (amqp_channel_t)feed->channel,
			  amqp_cstring_bytes(TAG));
	if (!amqp_link_answer(link, feed->channel, &why))
		amqp_feed_close(feed, AMQP_FEED_RETRY_MS);
}

/* --- life ------------------------------------------------------------------------- */

static void free_on_loop(void *context)
{
	amqp_in_free(context);
}

void amqp_feed_free(struct amqp_feed *feed)
{
	if (feed->open)
		amqp_feed_close(feed, 0);
	while (!list_empty(&feed->out)) {
		struct amqp_in *in = list_of(feed->out.next, struct amqp_in, place);

		list_remove(&in->place);
		if (in->due.ns != MONO_NEVER.ns)
			amqp_in_free(in); /* settled: nobody else has it */
		else if (atomic_load(&in->arrived))
			loop_post(in->receiver->loop, &in->mail, free_on_loop, in);
	}
	arena_finish(&feed->arena);
	free(feed);
}

static const struct slice *copy_keys(struct arena *arena, const struct slice *keys,
				     size_t count)
{
	struct slice *copy = arena_alloc(arena, count * sizeof *copy + 1);

	for (size_t i = 0; i < count; i++)
		copy[i] = arena_copy(arena, keys[i]);
	return copy;
}

struct amqp_feed *amqp_feed_create(const struct amqp_consumer_config *config)
{
	struct amqp_feed *feed = mem_zeroed(1, sizeof *feed);
	struct amqp_receiver *receivers =
		arena_alloc(&feed->arena, config->receiver_count * sizeof *receivers);

	check(config->receiver_count > 0 && config->prefetch > 0);
	check(config->prefetch <= UINT16_MAX && config->queue.size <= 250);
	feed->note.kind = AMQP_NOTE_feed;
	feed->subscription.leave.kind = AMQP_NOTE_leave;
	atomic_init(&feed->subscription.left, false);
	feed->config = *config;
	feed->config.queue = arena_copy(&feed->arena, config->queue);
	feed->config.exchange = arena_copy(&feed->arena, config->exchange);
	feed->config.keys = copy_keys(&feed->arena, config->keys, config->key_count);
	feed->config.drop_keys =
		copy_keys(&feed->arena, config->drop_keys, config->drop_key_count);
	memcpy(receivers, config->receivers, config->receiver_count * sizeof *receivers);
	feed->config.receivers = receivers;
	list_init(&feed->out);
	return feed;
}
