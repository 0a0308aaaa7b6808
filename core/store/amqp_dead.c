/* SPDX-License-Identifier: MIT */
#include "store/amqp_dead.h"

#include "base/check.h"
#include "store/amqp_link.h"
#include "watch/log.h"
#include "watch/metrics.h"

#include <amqp.h>
#include <amqp_framing.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>

#define CHANNEL 1
#define CONNECT_TIMEOUT_MS 5000
#define CONFIRM_TIMEOUT_MS 10000
#define HEARTBEAT_S 10 /* a broker that is gone is noticed within twice that */
#define LOG_RING_BYTES 4096
#define NAME_SIZE_MAX 250 /* of a queue, so that .dead fits behind it */

struct amqp_dead {
	struct log_hub *logs; /* nobody reads them: failures are told by why */
	struct metrics *metrics;
	struct observer observer;
	struct amqp_endpoint endpoint;
	struct amqp_link link;
};

/* One letter that is out, as the library has it. */
struct letter {
	uint64_t tag;
	amqp_message_t message;
};

enum taken { TAKEN_letter, TAKEN_none, TAKEN_failed };

static struct slice slice_from(amqp_bytes_t bytes)
{
	return slice_of(bytes.bytes, bytes.len);
}

/* --- the connection --------------------------------------------------------------- */

struct amqp_dead *amqp_dead_open(const char *url, struct fault *why)
{
	struct amqp_dead *dead = mem_zeroed(1, sizeof(*dead));

	if (!amqp_endpoint_init(&dead->endpoint, url, "orrery dead", why)) {
		free(dead);
		return NULL;
	}
	dead->endpoint.connect_timeout_ms = CONNECT_TIMEOUT_MS;
	dead->endpoint.heartbeat_s = HEARTBEAT_S;
	dead->logs = log_hub_create(LOG_fatal, NULL, NULL);
	dead->metrics = metrics_create();
	dead->observer.log = log_create(dead->logs, LOG_RING_BYTES);
	dead->observer.meter = meter_create(dead->metrics);
	amqp_link_init(&dead->link, &dead->endpoint, &dead->observer, "operator");
	if (amqp_link_open(&dead->link))
		return dead;
	*why = dead->link.last;
	amqp_dead_close(dead);
	return NULL;
}

void amqp_dead_close(struct amqp_dead *dead)
{
	if (!dead)
		return;
	amqp_link_close(&dead->link);
	amqp_endpoint_finish(&dead->endpoint);
	metrics_destroy(dead->metrics);
	log_hub_destroy(dead->logs);
	free(dead);
}

static bool lose(struct amqp_dead *dead, int status, struct fault *why)
{
	fault_set(why, FAULT_unavailable, "%s", amqp_error_string2(status));
	if (dead->link.connection)
		amqp_link_lost(&dead->link, why);
	return false;
}

/* --- the dead queue --------------------------------------------------------------- */

/* Opens the channel and counts; a channel per errand, so that its end puts back whatever
 * is out. */
static bool begin(struct amqp_dead *dead, struct slice queue,
		  char name[NAME_SIZE_MAX + 8], uint32_t *count, struct fault *why)
{
	amqp_queue_declare_ok_t *ok;

	*count = 0;
	if (!dead->link.connection)
		return fault_set(why, FAULT_unavailable, "%s", dead->link.last.detail);
	if (queue.size == 0 || queue.size > NAME_SIZE_MAX)
		return fault_set(why, FAULT_bad_input, "a queue's name has 1 to %d bytes",
				 NAME_SIZE_MAX);
	snprintf(name, NAME_SIZE_MAX + 8, "%.*s.dead", SLICE_PRINT(queue));
	if (!amqp_link_open_channel(&dead->link, CHANNEL, why))
		return false;
	ok = amqp_queue_declare(dead->link.connection, CHANNEL, amqp_cstring_bytes(name),
				1, 0, 0, 0, amqp_empty_table);
	if (ok)
		*count = ok->message_count;
	return amqp_link_answer(&dead->link, CHANNEL, why);
}

static void end(struct amqp_dead *dead)
{
	if (dead->link.connection)
		amqp_link_close_channel(&dead->link, CHANNEL);
}

static enum taken take(struct amqp_dead *dead, const char *name, struct letter *letter,
		       struct fault *why)
{
	amqp_connection_state_t connection = dead->link.connection;
	amqp_rpc_reply_t reply;

	amqp_maybe_release_buffers_on_channel(connection, CHANNEL);
	reply = amqp_basic_get(connection, CHANNEL, amqp_cstring_bytes(name), 0);
	if (!amqp_link_answer(&dead->link, CHANNEL, why))
		return TAKEN_failed;
	if (reply.reply.id == AMQP_BASIC_GET_EMPTY_METHOD)
		return TAKEN_none;
	letter->tag = ((amqp_basic_get_ok_t *)reply.reply.decoded)->delivery_tag;
	reply = amqp_read_message(connection, CHANNEL, &letter->message, 0);
	if (reply.reply_type == AMQP_RESPONSE_NORMAL)
		return TAKEN_letter;
	lose(dead, AMQP_STATUS_SOCKET_ERROR, why);
	return TAKEN_failed;
}

static struct slice id_of(const struct letter *letter)
{
	const amqp_basic_properties_t *p = &letter->message.properties;

	return p->_flags & AMQP_BASIC_MESSAGE_ID_FLAG ? slice_from(p->message_id)
						      : slice_of(NULL, 0);
}

static bool settle(struct amqp_dead *dead, const struct letter *letter, struct fault *why)
{
	int status = amqp_basic_ack(dead->link.connection, CHANNEL, letter->tag, 0);

	return status == AMQP_STATUS_OK || lose(dead, status, why);
}

/* --- looking ---------------------------------------------------------------------- */

/* Gives an array of those that are texts, freed by the caller. */
static struct amqp_header *text_headers(const amqp_table_t *table, size_t *count)
{
	struct amqp_header *headers =
		mem_zeroed((size_t)table->num_entries + 1, sizeof(*headers));

	*count = 0;
	for (int i = 0; i < table->num_entries; i++) {
		const amqp_field_value_t *value = &table->entries[i].value;

		if (value->kind != AMQP_FIELD_KIND_UTF8 &&
		    value->kind != AMQP_FIELD_KIND_BYTES)
			continue;
		headers[*count].name = slice_from(table->entries[i].key);
		headers[(*count)++].value = slice_from(value->value.bytes);
	}
	return headers;
}

static void show(const struct letter *letter, amqp_dead_see_fn *see, void *context)
{
	const amqp_basic_properties_t *p = &letter->message.properties;
	struct amqp_dead_letter shown = { .message_id = id_of(letter),
					  .body = slice_from(letter->message.body) };
	struct amqp_header *headers = NULL;

	if (p->_flags & AMQP_BASIC_CONTENT_TYPE_FLAG)
		shown.content_type = slice_from(p->content_type);
	if (p->_flags & AMQP_BASIC_HEADERS_FLAG) {
		amqp_death_read(&p->headers, &shown.death);
		headers = text_headers(&p->headers, &shown.header_count);
		shown.headers = headers;
	}
	see(context, &shown);
	free(headers);
}

bool amqp_dead_look(struct amqp_dead *dead, struct slice queue, uint32_t most,
		    amqp_dead_see_fn *see, void *context, uint32_t *count,
		    struct fault *why)
{
	char name[NAME_SIZE_MAX + 8];
	enum taken taken = TAKEN_letter;
	struct letter letter;

	if (!begin(dead, queue, name, count, why))
		return false;
	for (uint32_t i = 0; i < most && taken == TAKEN_letter; i++) {
		taken = take(dead, name, &letter, why);
		if (taken != TAKEN_letter)
			break;
		show(&letter, see, context);
		amqp_destroy_message(&letter.message);
	}
	if (taken == TAKEN_failed)
		return false;
	end(dead);
	return true;
}

/* --- one letter ------------------------------------------------------------------- */

/* The oldest with this id (any, when it is empty) among the next *left, which counts
 * down; the rest stays out until the channel ends. */
static enum taken find(struct amqp_dead *dead, const char *name, struct slice id,
		       uint32_t *left, struct letter *letter, struct fault *why)
{
	for (; *left > 0; --*left) {
		enum taken taken = take(dead, name, letter, why);

		if (taken != TAKEN_letter)
			return taken;
		if (id.size == 0 || slice_equal(id_of(letter), id)) {
			--*left;
			return TAKEN_letter;
		}
		amqp_destroy_message(&letter->message);
	}
	return TAKEN_none;
}

static bool not_there(struct slice id, struct fault *why)
{
	return fault_set(why, FAULT_missing, "no dead letter has the id '%.*s'",
			 SLICE_PRINT(id));
}

bool amqp_dead_drop(struct amqp_dead *dead, struct slice queue, struct slice id,
		    struct fault *why)
{
	char name[NAME_SIZE_MAX + 8];
	struct letter letter;
	enum taken taken;
	uint32_t left;
	bool well = false;

	check(id.size > 0);
	if (!begin(dead, queue, name, &left, why))
		return false;
	taken = find(dead, name, id, &left, &letter, why);
	if (taken == TAKEN_none)
		not_there(id, why);
	if (taken == TAKEN_letter) {
		well = settle(dead, &letter, why);
		amqp_destroy_message(&letter.message);
	}
	if (taken != TAKEN_failed)
		end(dead);
	return well;
}

/* --- replaying -------------------------------------------------------------------- */

/* What belongs to the earlier delivery, or would lead to other queues. */
static bool stays_behind(struct slice header)
{
	static const char *const names[] = { "BCC", "CC", "x-delivery-count" };

	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++)
		if (slice_equal(header, slice_text(names[i])))
			return true;
	return false;
}

/* entries: room for as many as the letter has. */
static amqp_basic_properties_t properties_of(const struct letter *letter,
					     amqp_table_entry_t *entries)
{
	amqp_basic_properties_t p = letter->message.properties;
	int count = 0;

	/* The broker takes a user's name from that user only. */
	p._flags &= ~(amqp_flags_t)AMQP_BASIC_USER_ID_FLAG;
	p._flags |= AMQP_BASIC_DELIVERY_MODE_FLAG;
	p.delivery_mode = AMQP_DELIVERY_PERSISTENT;
	if (!(p._flags & AMQP_BASIC_HEADERS_FLAG))
		return p;
	for (int i = 0; i < p.headers.num_entries; i++)
		if (!stays_behind(slice_from(p.headers.entries[i].key)))
			entries[count++] = p.headers.entries[i];
	p.headers = (amqp_table_t){ count, entries };
	return p;
}

/* What the broker says to the one message that is unconfirmed. */
struct answer {
	bool came; /* the rest is known */
	bool taken;
	bool came_back; /* it reached no queue: said before it is confirmed */
};

static void read_answer(struct amqp_dead *dead, struct answer *answer, struct fault *why)
{
	amqp_frame_t frame;

	while (!answer->came && amqp_link_frame(&dead->link, &frame)) {
		const amqp_method_t *method = &frame.payload.method;

		if (frame.frame_type != AMQP_FRAME_METHOD)
			continue;
		if (method->id == AMQP_BASIC_RETURN_METHOD) {
			answer->came_back = true;
			fault_set(why, FAULT_refused, "there is no such queue");
		} else if (method->id == AMQP_BASIC_ACK_METHOD) {
			answer->came = true;
			answer->taken = !answer->came_back;
		} else if (method->id == AMQP_BASIC_NACK_METHOD) {
			answer->came = true;
			fault_set(why, FAULT_refused, "the queue takes no messages");
		} else if (method->id == AMQP_CHANNEL_CLOSE_METHOD) {
			const amqp_channel_close_t *close = method->decoded;

			answer->came = true;
			fault_set(why, FAULT_refused, "the broker answers %u %.*s",
				  close->reply_code, (int)close->reply_text.len,
				  (const char *)close->reply_text.bytes);
			amqp_link_lost(&dead->link, why);
		}
	}
}

static bool confirmed(struct amqp_dead *dead, struct fault *why)
{
	struct mono until = mono_after_ms(clock_mono(), CONFIRM_TIMEOUT_MS);
	struct answer answer = { 0 };

	for (;;) {
		struct pollfd polled = { .fd = dead->link.fd, .events = POLLIN };

		read_answer(dead, &answer, why);
		if (answer.came)
			return answer.taken;
		if (!dead->link.connection)
			return fault_set(why, FAULT_uncertain,
					 "the connection was lost before the confirm");
		if (clock_mono().ns >= until.ns)
			return fault_set(why, FAULT_uncertain,
					 "the broker does not confirm in time");
		poll(&polled, 1, mono_left_ms(clock_mono(), until));
	}
}

static bool send_back(struct amqp_dead *dead, struct slice queue,
		      const struct letter *letter, struct fault *why)
{
	const amqp_table_t *headers = &letter->message.properties.headers;
	amqp_table_entry_t *entries =
		mem_zeroed((size_t)headers->num_entries + 1, sizeof(*entries));
	amqp_basic_properties_t properties = properties_of(letter, entries);
	int status = amqp_basic_publish(dead->link.connection, CHANNEL, amqp_empty_bytes,
					amqp_link_bytes(queue), 1, 0, &properties,
					letter->message.body);

	free(entries);
	if (status != AMQP_STATUS_OK)
		return lose(dead, status, why);
	return confirmed(dead, why) && settle(dead, letter, why);
}

bool amqp_dead_replay(struct amqp_dead *dead, struct slice queue, struct slice id,
		      uint32_t *moved, struct fault *why)
{
	char name[NAME_SIZE_MAX + 8];
	struct letter letter;
	enum taken taken;
	uint32_t left;
	bool well = true;

	*moved = 0;
	if (!begin(dead, queue, name, &left, why))
		return false;
	amqp_confirm_select(dead->link.connection, CHANNEL);
	if (!amqp_link_answer(&dead->link, CHANNEL, why))
		return false;
	do {
		taken = find(dead, name, id, &left, &letter, why);
		if (taken != TAKEN_letter)
			break;
		well = send_back(dead, queue, &letter, why);
		amqp_destroy_message(&letter.message);
		*moved += well;
	} while (well && id.size == 0);
	if (taken == TAKEN_failed)
		return false;
	if (taken == TAKEN_none && id.size > 0)
		well = not_there(id, why);
	end(dead);
	return well;
}
