/* SPDX-License-Identifier: MIT */
#include "store/amqp_publisher.h"

#include "base/check.h"
#include "loop/mailbox.h"
#include "loop/worker.h"
#include "store/amqp_window.h"
#include "watch/log.h"

#include <amqp.h>
#include <amqp_framing.h>
#include <stdio.h>
#include <stdlib.h>

/* Bytes between looks at whether the socket takes more. */
#define WRITE_CHUNK (64 * 1024)
#define CHANNEL 1
#define DEPTH_CHANNEL 2
#define ATTEMPTS_MAX 3 /* how often a message may be there when its channel is closed */
#define SWEEP_MS 200 /* between looks at what was given up in the line */
#define HEADERS_MAX 64

struct amqp_publisher {
	struct amqp_link link;
	struct mailbox *mailbox;
	struct thread *thread;
	unsigned waiting_max;
	_Atomic unsigned waiting; /* sent to the thread and not back */

	struct list line; /* to be written, in order */
	struct list asks; /* depths */
	struct amqp_window window; /* struct amqp_out, unconfirmed */
	bool depth_open; /* the channel for depths */
	bool stopping;
	struct mono stop_by;
	struct mono sweep_at;
};

void amqp_out_free(struct amqp_out *out)
{
	amqp_life_drop(out->life);
	arena_finish(&out->arena);
	free(out);
}

/* Back to its loop. why NULL: all went well. */
static void publisher_return(struct amqp_publisher *publisher, struct amqp_out *out,
			     const struct fault *why)
{
	out->failed = why != NULL;
	if (why)
		out->why = *why;
	atomic_fetch_sub(&publisher->waiting, 1);
	loop_post(out->loop, &out->mail, out->back, out);
}

/* --- what is unconfirmed ---------------------------------------------------------- */

static void confirm(struct amqp_publisher *publisher, uint64_t tag, bool multiple,
		    bool accepted)
{
	struct amqp_out *out;
	struct fault why;

	fault_set(&why, FAULT_refused, "the broker does not take the message");
	while ((out = amqp_window_confirm(&publisher->window, tag, multiple)))
		publisher_return(publisher, out, accepted ? NULL : &why);
}

/* Whether the broker's words name the exchange of this message. */
static bool closed_by(const struct fault *closed, const struct amqp_out *out)
{
	char exchange[300];

	snprintf(exchange, sizeof exchange, "exchange '%.*s'",
		 SLICE_PRINT(out->message.exchange));
	return closed->kind == FAULT_missing && strstr(closed->detail, exchange);
}

/* The channel or the connection is gone and tags begin anew: what was unconfirmed stands
 * at the head of the line again, in its order. closed: the channel's end, which one of
 * them caused. */
static void requeue(struct amqp_publisher *publisher, const struct fault *closed)
{
	struct mono now = clock_mono();
	struct amqp_out *out;
	struct fault late;
	struct list head;

	fault_set(&late, FAULT_uncertain, "the connection was lost before the confirm");
	list_init(&head);
	while ((out = amqp_window_take(&publisher->window))) {
		if (closed && (closed_by(closed, out) || ++out->attempts == ATTEMPTS_MAX))
			publisher_return(publisher, out, closed);
		else if (out->deadline.ns <= now.ns)
			publisher_return(publisher, out, &late);
		else
			list_append(&head, &out->member);
	}
	for (struct list *first; (first = list_take(&publisher->line));)
		list_append(&head, first);
	for (struct list *first; (first = list_take(&head));)
		list_append(&publisher->line, first);
	amqp_window_init(&publisher->window);
}

/* --- writing ---------------------------------------------------------------------- */

static amqp_basic_properties_t properties_of(const struct amqp_out *out,
					     amqp_table_entry_t entries[HEADERS_MAX])
{
	const struct amqp_message *message = &out->message;
	amqp_basic_properties_t p = { ._flags = AMQP_BASIC_DELIVERY_MODE_FLAG |
						AMQP_BASIC_TIMESTAMP_FLAG,
				      .delivery_mode = AMQP_DELIVERY_PERSISTENT };

	p.timestamp = (uint64_t)(clock_wall().ns / 1000000000);
	if (message->content_type.size) {
		p._flags |= AMQP_BASIC_CONTENT_TYPE_FLAG;
		p.content_type = amqp_link_bytes(message->content_type);
	}
	if (message->message_id.size) {
		p._flags |= AMQP_BASIC_MESSAGE_ID_FLAG;
		p.message_id = amqp_link_bytes(message->message_id);
	}
	for (size_t i = 0; i < message->header_count; i++) {
		entries[i].key = amqp_link_bytes(message->headers[i].name);
		entries[i].value.kind = AMQP_FIELD_KIND_UTF8;
		entries[i].value.value.bytes = amqp_link_bytes(message->headers[i].value);
	}
	if (message->header_count) {
		p._flags |= AMQP_BASIC_HEADERS_FLAG;
		p.headers = (amqp_table_t){ (int)message->header_count, entries };
	}
	return p;
}

/* False: the link was lost; the message is in the window and will be written again. */
static bool write_one(struct amqp_publisher *publisher, struct amqp_out *out)
{
	amqp_table_entry_t entries[HEADERS_MAX];
	amqp_basic_properties_t properties = properties_of(out, entries);
	struct fault why;
	int status;

	amqp_window_put(&publisher->window, out);
	status = amqp_basic_publish(publisher->link.connection, CHANNEL,
				    amqp_link_bytes(out->message.exchange),
				    amqp_link_bytes(out->message.routing_key), 0, 0,
				    &properties, amqp_link_bytes(out->message.body));
	if (status == AMQP_STATUS_OK)
		return true;
	fault_set(&why, FAULT_unavailable, "%s", amqp_error_string2(status));
	amqp_link_lost(&publisher->link, &why);
	return false;
}

/* Whether out may be written now, for the first time or again. If not, it has gone back.
 */
static bool claim(struct amqp_publisher *publisher, struct amqp_out *out, struct mono now)
{
	int expected = AMQP_OUT_waiting;

	if (out->deadline.ns <= now.ns ||
	    !(atomic_load(&out->stage) == AMQP_OUT_written ||
	      atomic_compare_exchange_strong(&out->stage, &expected, AMQP_OUT_written))) {
		struct fault why = { 0 };
		bool written = atomic_load(&out->stage) == AMQP_OUT_written;

		fault_set(&why, written ? FAULT_uncertain : FAULT_unavailable,
			  "the deadline passed before the broker took the message");
		publisher_return(publisher, out, &why);
		return false;
	}
	return true;
}

static void write_line(struct amqp_publisher *publisher)
{
	struct mono now = clock_mono();
	size_t written = WRITE_CHUNK;

	while (!list_empty(&publisher->line) && !amqp_window_full(&publisher->window) &&
	       !publisher->link.blocked) {
		struct amqp_out *out;

		if (written >= WRITE_CHUNK) {
			if (!amqp_link_writable(&publisher->link))
				return;
			written = 0;
		}
		out = list_of(list_take(&publisher->line), struct amqp_out, member);
		if (!claim(publisher, out, now))
			continue;
		if (!write_one(publisher, out))
			return;
		written += out->message.body.size + 512;
	}
}

/* --- reading ---------------------------------------------------------------------- */

static void channel_closed(struct amqp_publisher *publisher,
			   const amqp_channel_close_t *close)
{
	struct fault why;

	fault_set(&why,
		  close->reply_code == AMQP_NOT_FOUND ? FAULT_missing : FAULT_refused,
		  "the broker answers %u %.*s", close->reply_code,
		  (int)close->reply_text.len, (const char *)close->reply_text.bytes);
	log_printf(publisher->link.observer->log, LOG_warn, "publishing failed: %s",
		   why.detail);
	amqp_link_channel_closed(&publisher->link, CHANNEL);
	requeue(publisher, &why);
	if (!amqp_link_open_channel(&publisher->link, CHANNEL, &why))
		return;
	amqp_confirm_select(publisher->link.connection, CHANNEL);
	amqp_link_answer(&publisher->link, CHANNEL, &why);
}

static void read_confirms(struct amqp_publisher *publisher)
{
	amqp_frame_t frame;

	while (amqp_link_frame(&publisher->link, &frame)) {
		const amqp_method_t *method = &frame.payload.method;

		if (frame.frame_type != AMQP_FRAME_METHOD)
			continue;
		if (method->id == AMQP_BASIC_ACK_METHOD) {
			const amqp_basic_ack_t *ack = method->decoded;

			confirm(publisher, ack->delivery_tag, ack->multiple, true);
		} else if (method->id == AMQP_BASIC_NACK_METHOD) {
			const amqp_basic_nack_t *nack = method->decoded;

			confirm(publisher, nack->delivery_tag, nack->multiple, false);
		} else if (method->id == AMQP_CHANNEL_CLOSE_METHOD &&
			   frame.channel == CHANNEL) {
			channel_closed(publisher, method->decoded);
		}
	}
}

static void answer_depth(struct amqp_publisher *publisher, struct amqp_out *out)
{
	struct amqp_link *link = &publisher->link;
	amqp_queue_declare_ok_t *ok;
	struct fault why;

	if (out->deadline.ns <= clock_mono().ns) {
		fault_set(&why, FAULT_unavailable,
			  "the message broker was not asked in time");
		publisher_return(publisher, out, &why);
		return;
	}
	if (!publisher->depth_open &&
	    !amqp_link_open_channel(link, DEPTH_CHANNEL, &why)) {
		publisher_return(publisher, out, &why);
		return;
	}
	publisher->depth_open = true;
	ok = amqp_queue_declare(link->connection, DEPTH_CHANNEL,
				amqp_link_bytes(out->message.routing_key), 1, 0, 0, 0,
				amqp_empty_table);
	if (ok)
		out->depth = ok->message_count;
	if (amqp_link_answer(link, DEPTH_CHANNEL, &why)) {
		publisher_return(publisher, out, NULL);
	} else {
		publisher->depth_open = false;
		publisher_return(publisher, out, &why);
	}
}

/* --- the thread ------------------------------------------------------------------- */

static void take_mail(struct amqp_publisher *publisher)
{
	struct fault why;
	struct list come;

	list_init(&come);
	mailbox_take(publisher->mailbox, &come);
	for (struct list *first; (first = list_take(&come));) {
		struct amqp_out *out = list_of(first, struct amqp_out, member);

		if (out->kind == AMQP_OUT_message) {
			list_append(&publisher->line, first);
		} else if (out->kind == AMQP_OUT_depth) {
			list_append(&publisher->asks, first);
		} else if (out->kind == AMQP_OUT_cut) {
			fault_set(&why, FAULT_unavailable, "cut on purpose");
			if (publisher->link.connection)
				amqp_link_lost(&publisher->link, &why);
			amqp_out_free(out);
		} else {
			publisher->stopping = true;
			publisher->stop_by = out->deadline;
			amqp_out_free(out);
		}
	}
}

/* Sends back what need not wait: everything never written when the broker is down, and
 * what its loop gave up. */
static void sweep(struct amqp_publisher *publisher, bool down)
{
	struct mono now = clock_mono();
	struct fault why;
	struct list keep;

	publisher->sweep_at = mono_after_ms(now, SWEEP_MS);
	fault_set(&why, FAULT_unavailable, "the message broker cannot be reached: %.120s",
		  publisher->link.last.detail);
	list_init(&keep);
	for (struct list *first; (first = list_take(&publisher->line));) {
		struct amqp_out *out = list_of(first, struct amqp_out, member);
		int stage = atomic_load(&out->stage);

		if (stage == AMQP_OUT_abandoned || out->deadline.ns <= now.ns ||
		    (down && stage == AMQP_OUT_waiting))
			publisher_return(publisher, out, &why);
		else
			list_append(&keep, first);
	}
	for (struct list *first; (first = list_take(&keep));)
		list_append(&publisher->line, first);
	while (down && !list_empty(&publisher->asks))
		publisher_return(
			publisher,
			list_of(list_take(&publisher->asks), struct amqp_out, member),
			&why);
}

static void publisher_connect(struct amqp_publisher *publisher)
{
	struct amqp_link *link = &publisher->link;
	struct fault why;

	publisher->depth_open = false;
	if (!amqp_link_open(link))
		return;
	if (!amqp_link_open_channel(link, CHANNEL, &why) ||
	    !amqp_link_exchange(link, CHANNEL, SLICE("events"), &why))
		goto fail;
	amqp_confirm_select(link->connection, CHANNEL);
	if (!amqp_link_answer(link, CHANNEL, &why))
		goto fail;
	log_printf(link->observer->log, LOG_info, "the publisher is connected to %s:%d",
		   link->endpoint->host, link->endpoint->port);
	return;
fail: /* do not run in circles: a connection that cannot be used counts as none */
	if (link->connection)
		amqp_link_lost(link, &why);
	link->next_try = mono_after_ms(clock_mono(), 1000);
}

/* How long the thread may sleep; -1: until something comes. */
static int pause_ms(const struct amqp_publisher *publisher)
{
	struct mono wake = MONO_NEVER;

	if (!publisher->link.connection)
		wake = mono_earlier(wake, publisher->link.next_try);
	if (!list_empty(&publisher->line))
		wake = mono_earlier(wake, publisher->sweep_at);
	if (publisher->stopping)
		wake = mono_earlier(wake, publisher->stop_by);
	return wake.ns == MONO_NEVER.ns ? -1 : mono_left_ms(clock_mono(), wake);
}

static bool publisher_finished(const struct amqp_publisher *publisher)
{
	if (!publisher->stopping)
		return false;
	if (publisher->link.down || publisher->stop_by.ns <= clock_mono().ns)
		return true;
	return list_empty(&publisher->line) && list_empty(&publisher->asks) &&
	       amqp_window_empty(&publisher->window);
}

static void publisher_turn(struct amqp_publisher *publisher)
{
	struct amqp_link *link = &publisher->link;

	if (!link->connection && publisher->window.next > 1)
		requeue(publisher, NULL);
	if (!link->connection && link->next_try.ns <= clock_mono().ns)
		publisher_connect(publisher);
	if (link->down || publisher->sweep_at.ns <= clock_mono().ns)
		sweep(publisher, link->down);
	if (link->connection)
		write_line(publisher);
	while (link->connection && !list_empty(&publisher->asks))
		answer_depth(publisher, list_of(list_take(&publisher->asks),
						struct amqp_out, member));
	read_confirms(publisher);
}

static void publisher_run(void *context)
{
	struct amqp_publisher *publisher = context;

	for (;;) {
		bool stuck;

		take_mail(publisher);
		publisher_turn(publisher);
		if (publisher_finished(publisher))
			break;
		stuck = publisher->link.connection && !publisher->link.blocked &&
			!list_empty(&publisher->line) &&
			!amqp_window_full(&publisher->window);
		amqp_link_wait(&publisher->link, publisher->mailbox, pause_ms(publisher),
			       stuck);
	}
	amqp_link_close(&publisher->link);
}

struct amqp_publisher *amqp_publisher_create(const struct amqp_endpoint *endpoint,
					     const struct observer *observer,
					     unsigned waiting_max)
{
	struct amqp_publisher *publisher = mem_zeroed(1, sizeof *publisher);

	amqp_link_init(&publisher->link, endpoint, observer, "publisher");
	atomic_store(&publisher->link.reason, "connecting");
	atomic_store(&publisher->link.state, AMQP_LINK_opening);
	publisher->mailbox = mailbox_create();
	publisher->waiting_max = waiting_max;
	list_init(&publisher->line);
	list_init(&publisher->asks);
	amqp_window_init(&publisher->window);
	publisher->thread = thread_start("amqp-publish", publisher_run, publisher);
	return publisher;
}

static void publisher_post(struct amqp_publisher *publisher, enum amqp_out_kind kind,
			   struct mono deadline)
{
	struct amqp_out *out = mem_zeroed(1, sizeof *out);

	out->kind = kind;
	out->deadline = deadline;
	mailbox_send(publisher->mailbox, &out->member);
}

static void return_all(struct amqp_publisher *publisher, struct list *list,
		       const struct fault *why)
{
	for (struct list *first; (first = list_take(list));)
		publisher_return(publisher, list_of(first, struct amqp_out, member), why);
}

void amqp_publisher_destroy(struct amqp_publisher *publisher, int grace_ms)
{
	struct amqp_out *out;
	struct fault why;

	if (!publisher)
		return;
	publisher_post(publisher, AMQP_OUT_stop, mono_after_ms(clock_mono(), grace_ms));
	thread_join(publisher->thread);
	take_mail(publisher);
	fault_set(&why, FAULT_cancelled, "the service stops");
	return_all(publisher, &publisher->line, &why);
	return_all(publisher, &publisher->asks, &why);
	while ((out = amqp_window_take(&publisher->window)))
		publisher_return(publisher, out, &why);
	mailbox_destroy(publisher->mailbox);
	free(publisher);
}

bool amqp_publisher_send(struct amqp_publisher *publisher, struct amqp_out *out,
			 struct fault *why)
{
	if (atomic_fetch_add(&publisher->waiting, 1) >= publisher->waiting_max) {
		atomic_fetch_sub(&publisher->waiting, 1);
		return fault_set_status(why, FAULT_limit, 503,
					"%u messages wait to be published already",
					publisher->waiting_max);
	}
	mailbox_send(publisher->mailbox, &out->member);
	return true;
}

void amqp_publisher_cut(struct amqp_publisher *publisher)
{
	publisher_post(publisher, AMQP_OUT_cut, MONO_NEVER);
}

bool amqp_publisher_healthy(const struct amqp_publisher *publisher, struct fault *why)
{
	return amqp_link_healthy(&publisher->link, why);
}
