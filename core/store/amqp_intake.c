/* SPDX-License-Identifier: MIT */
#include "store/amqp_intake.h"

#include "store/amqp_history.h"

#include <amqp.h>
#include <amqp_framing.h>

static struct slice slice_from(amqp_bytes_t bytes)
{
	return slice_of(bytes.bytes, bytes.len);
}

void amqp_intake_method(struct amqp_in *in, const struct amqp_basic_deliver_t_ *deliver,
			struct slice queue)
{
	struct amqp_delivery *delivery = &in->delivery;

	delivery->queue = queue; /* the feed's, which outlives the delivery */
	delivery->tag = deliver->delivery_tag;
	delivery->redelivered = deliver->redelivered != 0;
	delivery->message.exchange =
		arena_copy(&in->arena, slice_from(deliver->exchange));
	delivery->message.routing_key =
		arena_copy(&in->arena, slice_from(deliver->routing_key));
}

static bool integer_of(const amqp_field_value_t *value, int64_t *integer)
{
	switch (value->kind) {
	case AMQP_FIELD_KIND_I8:
		*integer = value->value.i8;
		return true;
	case AMQP_FIELD_KIND_U8:
		*integer = value->value.u8;
		return true;
	case AMQP_FIELD_KIND_I16:
		*integer = value->value.i16;
		return true;
	case AMQP_FIELD_KIND_U16:
		*integer = value->value.u16;
		return true;
	case AMQP_FIELD_KIND_I32:
		*integer = value->value.i32;
		return true;
	case AMQP_FIELD_KIND_U32:
		*integer = value->value.u32;
		return true;
	case AMQP_FIELD_KIND_I64:
		*integer = value->value.i64;
		return true;
	default:
		return false;
	}
}

/* A dead letter that was sent back came by the name of its queue: it is shown with what
 * it was published with. */
static void intake_history(struct amqp_in *in, const amqp_table_t *headers)
{
	struct amqp_delivery *delivery = &in->delivery;
	struct amqp_death death;

	if (delivery->message.exchange.size > 0 || !amqp_death_read(headers, &death) ||
	    !slice_equal(death.queue, delivery->queue))
		return;
	delivery->message.exchange = arena_copy(&in->arena, death.exchange);
	delivery->message.routing_key = arena_copy(&in->arena, death.routing_key);
}

/* Keeps the text headers; reads the delivery count and the trace context out of them. */
static void intake_headers(struct amqp_in *in, const amqp_table_t *table)
{
	struct slice traceparent = { 0 }, tracestate = { 0 };
	struct amqp_header *headers = arena_alloc(
		&in->arena, ((size_t)table->num_entries + 1) * sizeof *headers);
	size_t count = 0;

	for (int i = 0; i < table->num_entries; i++) {
		const amqp_table_entry_t *entry = &table->entries[i];
		struct slice name = slice_from(entry->key), value;
		int64_t integer = 0;

		if (slice_equal(name, SLICE("x-delivery-count")) &&
		    integer_of(&entry->value, &integer) && integer > 0)
			in->delivery.delivery_count = (unsigned)integer;
		if (entry->value.kind != AMQP_FIELD_KIND_UTF8 &&
		    entry->value.kind != AMQP_FIELD_KIND_BYTES)
			continue;
		value = arena_copy(&in->arena, slice_from(entry->value.value.bytes));
		headers[count].name = arena_copy(&in->arena, name);
		headers[count++].value = value;
		if (slice_equal_nocase(name, SLICE("traceparent")))
			traceparent = value;
		else if (slice_equal_nocase(name, SLICE("tracestate")))
			tracestate = value;
	}
	in->delivery.message.headers = headers;
	in->delivery.message.header_count = count;
	if (traceparent.size && trace_parse(traceparent, tracestate, &in->parent))
		in->delivery.parent = &in->parent;
}

static void intake_properties(struct amqp_in *in, const amqp_basic_properties_t *p)
{
	struct amqp_message *message = &in->delivery.message;

	if (p->_flags & AMQP_BASIC_MESSAGE_ID_FLAG)
		message->message_id = arena_copy(&in->arena, slice_from(p->message_id));
	if (p->_flags & AMQP_BASIC_CONTENT_TYPE_FLAG)
		message->content_type =
			arena_copy(&in->arena, slice_from(p->content_type));
	if (p->_flags & AMQP_BASIC_HEADERS_FLAG) {
		intake_headers(in, &p->headers);
		intake_history(in, &p->headers);
	}
}

bool amqp_intake_frame(struct amqp_in *in, const struct amqp_frame_t_ *frame)
{
	if (frame->frame_type == AMQP_FRAME_HEADER) {
		intake_properties(in, frame->payload.properties.decoded);
		in->body_size = frame->payload.properties.body_size;
		in->body = arena_alloc(&in->arena, in->body_size + 1);
		in->body[in->body_size] = 0;
		in->delivery.message.body = slice_of(in->body, 0);
	} else if (frame->frame_type == AMQP_FRAME_BODY && in->body) {
		struct slice *body = &in->delivery.message.body;
		amqp_bytes_t part = frame->payload.body_fragment;

		if (part.len > in->body_size - body->size)
			part.len = in->body_size - body->size;
		memcpy(in->body + body->size, part.bytes, part.len);
		body->size += part.len;
	}
	return in->body && in->delivery.message.body.size == in->body_size;
}
