/* SPDX-License-Identifier: MIT */
#include "store/amqp_consumer.h"

#include "base/check.h"
#include "loop/mailbox.h"
#include "loop/worker.h"
#include "store/amqp_intake.h"
#include "watch/log.h"

#include <amqp.h>
#include <amqp_framing.h>
#include <stdio.h>
#include <stdlib.h>

#define FEED_RETRY_MS 1000 /* before a channel that the broker closed is opened again */
#define CHANNELS_MAX 2000

struct amqp_consumer {
	struct amqp_link link;
	struct mailbox *mailbox;
	struct thread *thread;
	unsigned delivery_limit;
	struct amqp *amqp;
	struct amqp_life *life;
	loop_fn *deliver;
	struct list feeds;
	unsigned feed_count;
	bool quiesced;
	bool stopping;
};

struct amqp_feed {
	struct amqp_note note; /* its member: in the mailbox, then in consumer->feeds */
	struct arena arena; /* what config points to */
	struct amqp_consumer_config config;
	unsigned channel;
	unsigned epoch; /* counts the lives of the channel */
	bool open;
	struct mono open_at; /* when to open it, if it is closed */
	size_t turn; /* the receiver of the next delivery */
	struct amqp_in *partial; /* a delivery whose body is not complete */
	struct list out;
};

static amqp_bytes_t bytes_of(struct slice s)
{
	return (amqp_bytes_t){ s.size, (void *)(uintptr_t)s.at };
}

void amqp_in_free(struct amqp_in *in)
{
	list_remove(&in->place);
	amqp_life_drop(in->life);
	arena_finish(&in->arena);
	free(in);
}

/* --- declaring
 * ---------------------------------------------------------------------------- */

static bool declare_queue(struct amqp_consumer *consumer, struct amqp_feed *feed,
			  struct fault *why)
{
	amqp_connection_state_t connection = consumer->link.connection;
	amqp_channel_t channel = (amqp_channel_t)feed->channel;
	struct slice queue = feed->config.queue;
	char dead[264];
	amqp_table_entry_t entries[4] = {
		{ .key = amqp_cstring_bytes("x-queue-type"),
		  .value = { .kind = AMQP_FIELD_KIND_UTF8,
			     .value.bytes = amqp_cstring_bytes("quorum") } },
		{ .key = amqp_cstring_bytes("x-delivery-limit"),
		  .value = { .kind = AMQP_FIELD_KIND_I32,
			     .value.i32 = (int32_t)consumer->delivery_limit } },
		{ .key = amqp_cstring_bytes("x-dead-letter-exchange"),
		  .value = { .kind = AMQP_FIELD_KIND_UTF8,
			     .value.bytes = amqp_cstring_bytes("") } },
		{ .key = amqp_cstring_bytes("x-dead-letter-routing-key"),
		  .value = { .kind = AMQP_FIELD_KIND_UTF8 } },
	};
	amqp_table_t arguments = { 4, entries };

	snprintf(dead, sizeof dead, "%.*s.dead", SLICE_PRINT(queue));
	entries[3].value.value.bytes = amqp_cstring_bytes(dead);
	amqp_queue_declare(connection, channel, bytes_of(queue), 0, 1, 0, 0, arguments);
	return amqp_link_answer(&consumer->link, feed->channel, why);
}

/* After binding: who finds it there may publish, and nothing is lost. */
static bool declare_dead(struct amqp_consumer *consumer, struct amqp_feed *feed,
			 struct fault *why)
{
	char dead[264];

	snprintf(dead, sizeof dead, "%.*s.dead", SLICE_PRINT(feed->config.queue));
	amqp_queue_declare(consumer->link.connection, (amqp_channel_t)feed->channel,
			   amqp_cstring_bytes(dead), 0, 1, 0, 0, amqp_empty_table);
	return amqp_link_answer(&consumer->link, feed->channel, why);
}

static bool feed_bind(struct amqp_consumer *consumer, struct amqp_feed *feed,
		      struct fault *why)
{
	const struct amqp_consumer_config *config = &feed->config;

	if (!config->exchange.size)
		return true; /* the default exchange reaches every queue by its name */
	if (!amqp_link_exchange(&consumer->link, feed->channel, config->exchange, why))
		return false;
	for (size_t i = 0; i < config->key_count; i++) {
		amqp_queue_bind(consumer->link.connection, (amqp_channel_t)feed->channel,
				bytes_of(config->queue), bytes_of(config->exchange),
				bytes_of(config->keys[i]), amqp_empty_table);
		if (!amqp_link_answer(&consumer->link, feed->channel, why))
			return false;
	}
	return true;
}

static bool feed_consume(struct amqp_consumer *consumer, struct amqp_feed *feed,
			 struct fault *why)
{
	amqp_connection_state_t connection = consumer->link.connection;
	amqp_channel_t channel = (amqp_channel_t)feed->channel;

	amqp_basic_qos(connection, channel, 0, (uint16_t)feed->config.prefetch, 0);
	if (!amqp_link_answer(&consumer->link, feed->channel, why))
		return false;
	amqp_basic_consume(connection, channel, bytes_of(feed->config.queue),
			   amqp_cstring_bytes("orrery"), 0, 0, 0, amqp_empty_table);
	return amqp_link_answer(&consumer->link, feed->channel, why);
}

static void feed_close(struct amqp_feed *feed, int retry_ms)
{
	feed->open = false;
	feed->open_at = mono_after_ms(clock_mono(), retry_ms);
	if (feed->partial)
		amqp_in_free(feed->partial);
	feed->partial = NULL;
}

static void feed_open(struct amqp_consumer *consumer, struct amqp_feed *feed)
{
	struct fault why;

	feed->epoch++;
	feed->open =
		amqp_link_open_channel(&consumer->link, feed->channel, &why) &&
		declare_queue(consumer, feed, &why) && feed_bind(consumer, feed, &why) &&
		declare_dead(consumer, feed, &why) && feed_consume(consumer, feed, &why);
	if (feed->open)
		return;
	feed_close(feed, FEED_RETRY_MS);
	log_printf(consumer->link.observer->log, LOG_error,
		   "cannot consume from %.*s: %s", SLICE_PRINT(feed->config.queue),
		   why.detail);
}

/* --- deliveries
 * --------------------------------------------------------------------------- */

static void post(struct amqp_consumer *consumer, struct amqp_feed *feed,
		 struct amqp_in *in)
{
	feed->partial = NULL;
	in->receiver =
		&feed->config.receivers[feed->turn++ % feed->config.receiver_count];
	loop_post(in->receiver->loop, &in->mail, consumer->deliver, in);
}

static void begin_delivery(struct amqp_consumer *consumer, struct amqp_feed *feed,
			   const amqp_basic_deliver_t *deliver)
{
	struct amqp_in *in = mem_zeroed(1, sizeof *in);

	in->note.kind = AMQP_NOTE_settled;
	in->feed = feed;
	in->epoch = feed->epoch;
	in->amqp = consumer->amqp;
	in->life = amqp_life_hold(consumer->life);
	in->due = MONO_NEVER;
	list_init(&in->place);
	list_append(&feed->out, &in->place);
	amqp_intake_method(in, deliver, feed->config.queue);
	if (feed->partial)
		amqp_in_free(feed->partial);
	feed->partial = in;
}

/* The broker cancelled us (the queue was deleted) or closed the channel: begin anew. */
static void feed_interrupted(struct amqp_consumer *consumer, struct amqp_feed *feed,
			     const amqp_method_t *method)
{
	if (method->id == AMQP_CHANNEL_CLOSE_METHOD) {
		const amqp_channel_close_t *close = method->decoded;

		log_printf(consumer->link.observer->log, LOG_warn,
			   "the broker closed the channel of %.*s: %u %.*s",
			   SLICE_PRINT(feed->config.queue), close->reply_code,
			   (int)close->reply_text.len,
			   (const char *)close->reply_text.bytes);
		amqp_link_channel_closed(&consumer->link, feed->channel);
	} else {
		log_printf(consumer->link.observer->log, LOG_warn,
			   "the broker cancelled consuming from %.*s",
			   SLICE_PRINT(feed->config.queue));
		amqp_channel_close(consumer->link.connection,
				   (amqp_channel_t)feed->channel, AMQP_REPLY_SUCCESS);
	}
	feed_close(feed, FEED_RETRY_MS);
}

static struct amqp_feed *feed_at(struct amqp_consumer *consumer, unsigned channel)
{
	for (struct list *at = consumer->feeds.next; at != &consumer->feeds;
	     at = at->next) {
		struct amqp_feed *feed = list_of(at, struct amqp_feed, note.member);

		if (feed->channel == channel)
			return feed;
	}
	return NULL;
}

static void read_frames(struct amqp_consumer *consumer)
{
	amqp_frame_t frame;

	while (amqp_link_frame(&consumer->link, &frame)) {
		struct amqp_feed *feed = feed_at(consumer, frame.channel);
		const amqp_method_t *method = &frame.payload.method;

		if (!feed || !feed->open)
			continue;
		if (frame.frame_type != AMQP_FRAME_METHOD) {
			if (feed->partial && amqp_intake_frame(feed->partial, &frame))
				post(consumer, feed, feed->partial);
		} else if (method->id == AMQP_BASIC_DELIVER_METHOD) {
			begin_delivery(consumer, feed, method->decoded);
		} else if (method->id == AMQP_CHANNEL_CLOSE_METHOD ||
			   method->id == AMQP_BASIC_CANCEL_METHOD) {
			feed_interrupted(consumer, feed, method);
		}
	}
}

/* --- settling
 * ------------------------------------------------------------------------------ */

static void tell_broker(struct amqp_consumer *consumer, struct amqp_in *in)
{
	amqp_connection_state_t connection = consumer->link.connection;
	amqp_channel_t channel = (amqp_channel_t)in->feed->channel;
	int status = AMQP_STATUS_OK;

	if (connection && in->feed->open && in->epoch == in->feed->epoch) {
		if (in->verdict == AMQP_ack)
			status = amqp_basic_ack(connection, channel, in->delivery.tag, 0);
		else if (in->verdict == AMQP_retry)
			status = amqp_basic_nack(connection, channel, in->delivery.tag, 0,
						 1);
		else
			status = amqp_basic_reject(connection, channel, in->delivery.tag,
						   0);
	}
	amqp_in_free(in);
	if (status != AMQP_STATUS_OK) {
		struct fault why;

		fault_set(&why, FAULT_unavailable, "%s", amqp_error_string2(status));
		amqp_link_lost(&consumer->link, &why);
	}
}

static void settle(struct amqp_consumer *consumer, struct amqp_in *in)
{
	if (in->verdict == AMQP_retry && in->delay_ms > 0 && in->epoch == in->feed->epoch)
		in->due = mono_after_ms(clock_mono(), in->delay_ms);
	else
		tell_broker(consumer, in);
}

/* Retries whose delay has passed; gives when the next one comes due. */
static struct mono settle_due(struct amqp_consumer *consumer)
{
	struct mono now = clock_mono(), next = MONO_NEVER;

	for (struct list *f = consumer->feeds.next; f != &consumer->feeds; f = f->next) {
		struct amqp_feed *feed = list_of(f, struct amqp_feed, note.member);

		for (struct list *at = feed->out.next, *after; at != &feed->out;
		     at = after) {
			struct amqp_in *in = list_of(at, struct amqp_in, place);

			after = at->next;
			if (in->due.ns <= now.ns)
				tell_broker(consumer, in);
			else
				next = mono_earlier(next, in->due);
		}
	}
	return next;
}

/* --- the thread
 * ----------------------------------------------------------------------------- */

static void consumer_quiesce(struct amqp_consumer *consumer)
{
	struct fault why;

	consumer->quiesced = true;
	for (struct list *at = consumer->feeds.next; at != &consumer->feeds;
	     at = at->next) {
		struct amqp_feed *feed = list_of(at, struct amqp_feed, note.member);

		if (!consumer->link.connection || !feed->open)
			continue;
		amqp_basic_cancel(consumer->link.connection,
				  (amqp_channel_t)feed->channel,
				  amqp_cstring_bytes("orrery"));
		if (!amqp_link_answer(&consumer->link, feed->channel, &why))
			feed_close(feed, FEED_RETRY_MS);
	}
}

static void take_mail(struct amqp_consumer *consumer)
{
	struct fault cut;
	struct list come;

	list_init(&come);
	mailbox_take(consumer->mailbox, &come);
	for (struct list *first; (first = list_take(&come));) {
		struct amqp_note *note = list_of(first, struct amqp_note, member);
		struct amqp_feed *feed;

		switch (note->kind) {
		case AMQP_NOTE_settled:
			settle(consumer, list_of(note, struct amqp_in, note));
			continue;
		case AMQP_NOTE_feed:
			check(consumer->feed_count < CHANNELS_MAX);
			feed = list_of(note, struct amqp_feed, note);
			feed->channel = ++consumer->feed_count;
			list_append(&consumer->feeds, first);
			continue;
		case AMQP_NOTE_quiesce:
			consumer_quiesce(consumer);
			break;
		case AMQP_NOTE_cut:
			fault_set(&cut, FAULT_unavailable, "cut on purpose");
			if (consumer->link.connection)
				amqp_link_lost(&consumer->link, &cut);
			break;
		case AMQP_NOTE_stop:
			consumer->stopping = true;
			break;
		}
		free(note);
	}
}

static void open_feeds(struct amqp_consumer *consumer)
{
	for (struct list *at = consumer->feeds.next; at != &consumer->feeds;
	     at = at->next) {
		struct amqp_feed *feed = list_of(at, struct amqp_feed, note.member);

		if (!feed->open && consumer->link.connection && !consumer->quiesced &&
		    feed->open_at.ns <= clock_mono().ns)
			feed_open(consumer, feed);
	}
}

static void close_feeds(struct amqp_consumer *consumer)
{
	for (struct list *at = consumer->feeds.next; at != &consumer->feeds;
	     at = at->next) {
		struct amqp_feed *feed = list_of(at, struct amqp_feed, note.member);

		if (feed->open)
			feed_close(feed, 0);
	}
}

static void consumer_connect(struct amqp_consumer *consumer)
{
	if (amqp_link_open(&consumer->link))
		log_printf(consumer->link.observer->log, LOG_info,
			   "the consumer is connected to %s:%d",
			   consumer->link.endpoint->host, consumer->link.endpoint->port);
}

/* When the next thing is to be done that nothing on a descriptor announces. */
static struct mono next_wake(const struct amqp_consumer *consumer, struct mono wake)
{
	const struct list *feeds = &consumer->feeds;

	if (list_empty(feeds) || consumer->quiesced)
		return wake;
	if (!consumer->link.connection)
		return mono_earlier(wake, consumer->link.next_try);
	for (const struct list *at = feeds->next; at != feeds; at = at->next) {
		const struct amqp_feed *feed = list_of(at, struct amqp_feed, note.member);

		if (!feed->open)
			wake = mono_earlier(wake, feed->open_at);
	}
	return wake;
}

static void consumer_run(void *context)
{
	struct amqp_consumer *consumer = context;
	struct amqp_link *link = &consumer->link;

	for (;;) {
		struct mono wake;

		take_mail(consumer);
		if (consumer->stopping)
			break;
		if (!link->connection)
			close_feeds(consumer);
		if (!link->connection && !list_empty(&consumer->feeds) &&
		    !consumer->quiesced && link->next_try.ns <= clock_mono().ns)
			consumer_connect(consumer);
		open_feeds(consumer);
		wake = settle_due(consumer);
		read_frames(consumer);
		wake = next_wake(consumer, wake);
		amqp_link_wait(
			link, consumer->mailbox,
			wake.ns == MONO_NEVER.ns ? -1 : mono_left_ms(clock_mono(), wake),
			false);
	}
	amqp_link_close(link);
}

struct amqp_consumer *amqp_consumer_create(const struct amqp_endpoint *endpoint,
					   const struct observer *observer,
					   unsigned delivery_limit, struct amqp *amqp,
					   struct amqp_life *life, loop_fn *deliver)
{
	struct amqp_consumer *consumer = mem_zeroed(1, sizeof *consumer);

	amqp_link_init(&consumer->link, endpoint, observer, "consumer");
	consumer->mailbox = mailbox_create();
	consumer->delivery_limit = delivery_limit;
	consumer->amqp = amqp;
	consumer->life = life;
	consumer->deliver = deliver;
	list_init(&consumer->feeds);
	consumer->thread = thread_start("amqp-consume", consumer_run, consumer);
	return consumer;
}

static void consumer_post(struct amqp_consumer *consumer, enum amqp_note_kind kind)
{
	struct amqp_note *note = mem_zeroed(1, sizeof *note);

	note->kind = kind;
	mailbox_send(consumer->mailbox, &note->member);
}

static void free_on_loop(void *context)
{
	amqp_in_free(context);
}

static void feed_free(struct amqp_feed *feed)
{
	if (feed->open)
		feed_close(feed, 0);
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

void amqp_consumer_destroy(struct amqp_consumer *consumer)
{
	if (!consumer)
		return;
	consumer_post(consumer, AMQP_NOTE_stop);
	thread_join(consumer->thread);
	take_mail(consumer);
	for (struct list *first; (first = list_take(&consumer->feeds));)
		feed_free(list_of(first, struct amqp_feed, note.member));
	mailbox_destroy(consumer->mailbox);
	free(consumer);
}

void amqp_consumer_add(struct amqp_consumer *consumer,
		       const struct amqp_consumer_config *config)
{
	struct amqp_feed *feed = mem_zeroed(1, sizeof *feed);
	struct slice *keys =
		arena_alloc(&feed->arena, config->key_count * sizeof *keys + 1);
	struct amqp_receiver *receivers =
		arena_alloc(&feed->arena, config->receiver_count * sizeof *receivers);

	check(config->receiver_count > 0 && config->prefetch > 0);
	check(config->prefetch <= UINT16_MAX && config->queue.size <= 250);
	feed->note.kind = AMQP_NOTE_feed;
	feed->config = *config;
	feed->config.queue = arena_copy(&feed->arena, config->queue);
	feed->config.exchange = arena_copy(&feed->arena, config->exchange);
	for (size_t i = 0; i < config->key_count; i++)
		keys[i] = arena_copy(&feed->arena, config->keys[i]);
	memcpy(receivers, config->receivers, config->receiver_count * sizeof *receivers);
	feed->config.keys = keys;
	feed->config.receivers = receivers;
	list_init(&feed->out);
	mailbox_send(consumer->mailbox, &feed->note.member);
}

void amqp_consumer_settle(struct amqp_consumer *consumer, struct amqp_in *in)
{
	mailbox_send(consumer->mailbox, &in->note.member);
}

void amqp_consumer_quiesce(struct amqp_consumer *consumer)
{
	consumer_post(consumer, AMQP_NOTE_quiesce);
}

void amqp_consumer_cut(struct amqp_consumer *consumer)
{
	consumer_post(consumer, AMQP_NOTE_cut);
}

bool amqp_consumer_healthy(const struct amqp_consumer *consumer, struct fault *why)
{
	return amqp_link_healthy(&consumer->link, why);
}
