/* SPDX-License-Identifier: MIT */
#include "store/amqp_consumer.h"

#include "base/check.h"
#include "loop/mailbox.h"
#include "loop/worker.h"
#include "store/amqp_feed.h"
#include "store/amqp_intake.h"
#include "watch/log.h"

#include <amqp.h>
#include <amqp_framing.h>
#include <stdio.h>
#include <stdlib.h>

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
	bool used; /* there was something to consume: the connection is kept up */
	bool quiesced;
	bool stopping;
};

/* --- settling --------------------------------------------------------------------- */

static void tell_broker(struct amqp_consumer *consumer, struct amqp_in *in)
{
	amqp_connection_state_t connection = consumer->link.connection;
	amqp_channel_t channel = (amqp_channel_t)in->feed->channel;
	int status = AMQP_STATUS_OK;

	if (connection && in->feed->open && in->epoch == in->feed->epoch) {
		if (in->verdict == AMQP_ack)
			status = amqp_basic_ack(connection, channel, in->delivery.tag, 0);
		else if (in->verdict == AMQP_dead)
			status = amqp_basic_reject(connection, channel, in->delivery.tag,
						   0);
		else
			status = amqp_basic_nack(connection, channel, in->delivery.tag, 0,
						 1);
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
	bool waits = in->verdict == AMQP_retry || in->verdict == AMQP_again;

	if (waits && in->delay_ms > 0 && in->epoch == in->feed->epoch)
		in->due = mono_after_ms(clock_mono(), in->delay_ms);
	else
		tell_broker(consumer, in);
}

static void hand_out(struct amqp_consumer *consumer, struct amqp_in *in)
{
	struct amqp_feed *feed = in->feed;

	in->due = MONO_NEVER;
	in->receiver =
		&feed->config.receivers[feed->turn++ % feed->config.receiver_count];
	loop_post(in->receiver->loop, &in->mail, consumer->deliver, in);
}

static bool may_hand_out_again(const struct amqp_consumer *consumer,
			       const struct amqp_in *in, struct mono now)
{
	return in->verdict == AMQP_again && now.ns < in->again_until.ns &&
	       !consumer->quiesced && !in->feed->leaving && in->feed->open &&
	       in->epoch == in->feed->epoch;
}

static void when_due(struct amqp_consumer *consumer, struct amqp_in *in, struct mono now)
{
	if (!may_hand_out_again(consumer, in, now)) {
		tell_broker(consumer, in);
		return;
	}
	in->delivery.redelivered = true;
	in->delivery.again_count++;
	atomic_store(&in->arrived, false);
	hand_out(consumer, in);
}

/* Those whose delay has passed; gives when the next one comes due. */
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
				when_due(consumer, in, now);
			else
				next = mono_earlier(next, in->due);
		}
	}
	return next;
}

/* --- deliveries ------------------------------------------------------------------- */

static void post(struct amqp_consumer *consumer, struct amqp_feed *feed,
		 struct amqp_in *in)
{
	feed->partial = NULL;
	if (feed->leaving) { /* it was under way when the broker was told */
		in->verdict = AMQP_retry;
		tell_broker(consumer, in);
		return;
	}
	hand_out(consumer, in);
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
	in->again_until = mono_after_ms(clock_mono(), AMQP_AGAIN_MS);
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
		amqp_link_close_channel(&consumer->link, feed->channel);
	}
	amqp_feed_close(feed, AMQP_FEED_RETRY_MS);
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

/* --- the thread ------------------------------------------------------------------- */

static void consumer_quiesce(struct amqp_consumer *consumer)
{
	consumer->quiesced = true;
	for (struct list *at = consumer->feeds.next; at != &consumer->feeds;
	     at = at->next) {
		struct amqp_feed *feed = list_of(at, struct amqp_feed, note.member);

		if (consumer->link.connection && feed->open)
			amqp_feed_cancel(feed, &consumer->link);
	}
}

static void feed_arrives(struct amqp_consumer *consumer, struct amqp_feed *feed)
{
	feed->channel = 1;
	while (feed_at(consumer, feed->channel))
		feed->channel++;
	check(feed->channel <= CHANNELS_MAX);
	list_append(&consumer->feeds, &feed->note.member);
	consumer->used = true;
}

static void feed_leaves(struct amqp_consumer *consumer, struct amqp_feed *feed)
{
	feed->leaving = true;
	if (consumer->link.connection && feed->open && !consumer->quiesced)
		amqp_feed_cancel(feed, &consumer->link);
}

/* When all frames have been read: what the broker sent before it knew is dealt with. */
static void free_left(struct amqp_consumer *consumer)
{
	for (struct list *at = consumer->feeds.next, *after; at != &consumer->feeds;
	     at = after) {
		struct amqp_feed *feed = list_of(at, struct amqp_feed, note.member);

		after = at->next;
		if (!feed->leaving || !list_empty(&feed->out))
			continue;
		list_remove(at);
		if (consumer->link.connection && feed->open)
			amqp_link_close_channel(&consumer->link, feed->channel);
		amqp_feed_free(feed);
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

		switch (note->kind) {
		case AMQP_NOTE_settled:
			settle(consumer, list_of(note, struct amqp_in, note));
			continue;
		case AMQP_NOTE_feed:
			feed_arrives(consumer, list_of(note, struct amqp_feed, note));
			continue;
		case AMQP_NOTE_leave:
			feed_leaves(consumer,
				    list_of(note, struct amqp_feed, subscription.leave));
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

		if (!feed->open && !feed->leaving && consumer->link.connection &&
		    !consumer->quiesced && feed->open_at.ns <= clock_mono().ns)
			amqp_feed_open(feed, &consumer->link, consumer->delivery_limit);
	}
}

static void close_feeds(struct amqp_consumer *consumer)
{
	for (struct list *at = consumer->feeds.next; at != &consumer->feeds;
	     at = at->next) {
		struct amqp_feed *feed = list_of(at, struct amqp_feed, note.member);

		if (feed->open)
			amqp_feed_close(feed, 0);
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

	if (!consumer->used || consumer->quiesced)
		return wake;
	if (!consumer->link.connection)
		return mono_earlier(wake, consumer->link.next_try);
	for (const struct list *at = feeds->next; at != feeds; at = at->next) {
		const struct amqp_feed *feed = list_of(at, struct amqp_feed, note.member);

		if (!feed->open && !feed->leaving)
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
		if (!link->connection && consumer->used && !consumer->quiesced &&
		    link->next_try.ns <= clock_mono().ns)
			consumer_connect(consumer);
		open_feeds(consumer);
		wake = settle_due(consumer);
		read_frames(consumer);
		free_left(consumer);
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

void amqp_consumer_destroy(struct amqp_consumer *consumer)
{
	if (!consumer)
		return;
	consumer_post(consumer, AMQP_NOTE_stop);
	thread_join(consumer->thread);
	take_mail(consumer);
	for (struct list *first; (first = list_take(&consumer->feeds));)
		amqp_feed_free(list_of(first, struct amqp_feed, note.member));
	mailbox_destroy(consumer->mailbox);
	free(consumer);
}

struct amqp_subscription *amqp_consumer_add(struct amqp_consumer *consumer,
					    const struct amqp_consumer_config *config)
{
	struct amqp_feed *feed = amqp_feed_create(config);

	mailbox_send(consumer->mailbox, &feed->note.member);
	return &feed->subscription;
}

void amqp_consumer_remove(struct amqp_consumer *consumer,
			  struct amqp_subscription *subscription)
{
	atomic_store(&subscription->left, true);
	mailbox_send(consumer->mailbox, &subscription->leave.member);
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
