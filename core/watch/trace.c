/* SPDX-License-Identifier: MIT */
/* trace.c -- spans of one thread, from start to the ring.
 *
 * A hot path: start, eight attributes and end are about 400 ns
 * (test/bench/watch_bench.c); no malloc while the free list lasts, no lock. An attribute
 * is encoded to its OTLP bytes when it is given, into the span's own area, so that ending
 * a span is one pass over a few small fields and one memcpy into the ring. What does not
 * fit into the area is counted as dropped.
 */
#include "watch/trace.h"

#include "base/check.h"
#include "base/random.h"
#include "base/utf8.h"
#include "watch/ring.h"
#include "watch/sampling.h"
#include "watch/wire.h"

#include <limits.h>
#include <stdlib.h>

#define AREA_SIZE 2048
#define AREA_KEPT 160 /* of it, for error.type: a failed span must say why */
#define NAME_MAX_BYTES 256
#define TEXT_MAX 1024
#define ERROR_TYPE_MAX 128
#define FREE_MAX 256 /* spans kept for the next start; more are given back to malloc */
#define ATTRS_MAX_DEFAULT 128
#define HEAD_MAX 160 /* a Span without its texts and its area */

/* Fields of opentelemetry.proto.trace.v1. */
enum {
	FIELD_trace_id = 1,
	FIELD_span_id = 2,
	FIELD_trace_state = 3,
	FIELD_parent_span_id = 4,
	FIELD_name = 5,
	FIELD_kind = 6,
	FIELD_start_time = 7,
	FIELD_end_time = 8,
	FIELD_attributes = 9,
	FIELD_dropped_attributes = 10,
	FIELD_links = 13,
	FIELD_dropped_links = 14,
	FIELD_status = 15,
	FIELD_flags = 16
};
enum { LINK_trace_id = 1, LINK_span_id = 2, LINK_trace_state = 3, LINK_flags = 6 };
enum { STATUS_message = 2, STATUS_code = 3 };
#define STATUS_ERROR 2
#define FLAG_REMOTE_KNOWN 0x100u
#define FLAG_REMOTE 0x200u

struct span {
	struct tracer *tracer;
	struct span *next_free;
	struct trace_context context;
	struct mono began;
	struct wall start;
	enum span_kind kind;
	bool recording;
	bool failed;
	bool has_parent;
	bool parent_remote;
	uint8_t parent_id[8];
	unsigned attrs;
	unsigned dropped_attrs;
	unsigned dropped_links;
	size_t name_size;
	size_t message_size;
	size_t area_size;
	char name[NAME_MAX_BYTES];
	char message[NAME_MAX_BYTES];
	char area[AREA_SIZE]; /* encoded attributes and links */
};

struct tracer {
	struct tracer_config config;
	uint64_t threshold;
	struct random random;
	uint32_t generation;
	tracer_tap_fn *tap;
	void *tap_context;
	struct span *free;
	unsigned free_count;
	struct ring *ring;
};

struct tracer *tracer_create(const struct tracer_config *config, uint64_t seed)
{
	struct tracer *tracer = mem_zeroed(1, sizeof(*tracer));

	tracer->config = *config;
	if (tracer->config.attrs_max == 0)
		tracer->config.attrs_max = ATTRS_MAX_DEFAULT;
	tracer->threshold = sampling_threshold(config->ratio);
	random_init(&tracer->random, seed);
	tracer->ring = ring_create(config->ring_bytes);
	return tracer;
}

void tracer_destroy(struct tracer *tracer)
{
	if (tracer == NULL)
		return;
	while (tracer->free) {
		struct span *span = tracer->free;

		tracer->free = span->next_free;
		free(span);
	}
	ring_destroy(tracer->ring);
	free(tracer);
}

void tracer_set_generation(struct tracer *tracer, uint32_t generation)
{
	tracer->generation = generation;
}

void tracer_tap(struct tracer *tracer, tracer_tap_fn *fn, void *context)
{
	tracer->tap = fn;
	tracer->tap_context = context;
}

static struct span *span_take(struct tracer *tracer)
{
	struct span *span = tracer->free;

	if (span == NULL)
		return mem_resize(NULL, sizeof(*span));
	tracer->free = span->next_free;
	tracer->free_count--;
	return span;
}

static void span_give_back(struct span *span)
{
	struct tracer *tracer = span->tracer;

	if (tracer->free_count >= FREE_MAX) {
		free(span);
		return;
	}
	span->next_free = tracer->free;
	tracer->free = span;
	tracer->free_count++;
}

/* An id of all zeroes is no id. */
static void new_id(struct random *random, uint8_t *id, size_t size)
{
	uint64_t some;

	do {
		random_fill(random, id, size);
		memcpy(&some, id, sizeof(some));
	} while (some == 0);
}

static bool is_parent(const struct trace_context *context)
{
	static const uint8_t zero[16];

	return context && memcmp(context->trace_id, zero, sizeof(zero)) != 0 &&
	       memcmp(context->span_id, zero, sizeof(context->span_id)) != 0;
}

struct span *span_start(struct tracer *tracer, enum span_kind kind, struct slice name,
			const struct trace_context *parent)
{
	struct span *span = span_take(tracer);
	struct trace_context *context = &span->context;

	/* The texts and the area, the last and largest members, stay as they are. */
	memset(span, 0, offsetof(struct span, name));
	span->tracer = tracer;
	span->kind = kind;
	span->began = clock_mono();
	if (is_parent(parent)) {
		*context = *parent;
		context->remote = false;
		context->flags &= TRACE_FLAG_RANDOM;
		span->has_parent = true;
		span->parent_remote = parent->remote;
		memcpy(span->parent_id, parent->span_id, sizeof(span->parent_id));
	} else {
		parent = NULL;
		new_id(&tracer->random, context->trace_id, sizeof(context->trace_id));
		context->flags = TRACE_FLAG_RANDOM;
	}
	if (context->generation == 0 || span->parent_remote)
		context->generation = tracer->generation;
	new_id(&tracer->random, context->span_id, sizeof(context->span_id));
	if (sampling_decide(tracer->config.sampler, tracer->threshold, context->trace_id,
			    parent)) {
		context->flags |= TRACE_FLAG_SAMPLED;
		span->recording = tracer->config.recording;
	}
	if (span->recording) {
		span->start = clock_wall();
		span_rename(span, name);
	}
	return span;
}

const struct trace_context *span_context(const struct span *span)
{
	return &span->context;
}

bool span_recording(const struct span *span)
{
	return span->recording;
}

void span_rename(struct span *span, struct slice name)
{
	if (span->recording)
		span->name_size = utf8_mend(name, span->name, sizeof(span->name));
}

/* Cuts the text, and if it is not UTF-8 mends it into `room` of TEXT_MAX bytes. */
static void make_good(struct slice *text, char *room)
{
	if (__builtin_expect(text->size > TEXT_MAX, 0))
		*text = utf8_cut(*text, TEXT_MAX);
	if (__builtin_expect(utf8_valid(*text) != text->size, 0))
		*text = slice_of(room, utf8_mend(*text, room, TEXT_MAX));
}

/* Changes attr, which is the caller's copy. */
static void put_attr(struct span *span, struct attr *attr, unsigned attrs_max,
		     size_t area_max)
{
	char key_room[TEXT_MAX], text_room[TEXT_MAX], *at = span->area + span->area_size;

	make_good(&attr->key, key_room);
	if (attr->type == ATTR_text)
		make_good(&attr->text, text_room);
	if (attr->key.size == 0 || span->attrs >= attrs_max ||
	    span->area_size + wire_key_value_size(FIELD_attributes, attr) > area_max) {
		span->dropped_attrs++;
		return;
	}
	span->attrs++;
	span->area_size =
		(size_t)(wire_key_value(at, FIELD_attributes, attr) - span->area);
}

void span_attr(struct span *span, struct attr attr)
{
	if (span->recording)
		put_attr(span, &attr, span->tracer->config.attrs_max,
			 AREA_SIZE - AREA_KEPT);
}

static uint32_t flags_of(const struct trace_context *context, bool remote)
{
	return context->flags | FLAG_REMOTE_KNOWN | (remote ? FLAG_REMOTE : 0);
}

void span_link(struct span *span, const struct trace_context *to)
{
	size_t state, body;
	char *at;

	if (!span->recording)
		return;
	state = to->state.size ? wire_bytes_size(to->state.size) : 0;
	body = wire_bytes_size(sizeof(to->trace_id)) +
	       wire_bytes_size(sizeof(to->span_id)) + state + 1 + 4;
	if (span->area_size + wire_bytes_size(body) > AREA_SIZE - AREA_KEPT) {
		span->dropped_links++;
		return;
	}
	at = wire_tag(span->area + span->area_size, FIELD_links, WIRE_BYTES);
	at = wire_varint(at, body);
	at = wire_bytes(at, LINK_trace_id, to->trace_id, sizeof(to->trace_id));
	at = wire_bytes(at, LINK_span_id, to->span_id, sizeof(to->span_id));
	if (to->state.size > 0)
		at = wire_bytes(at, LINK_trace_state, to->state.at, to->state.size);
	at = wire_fixed32(at, LINK_flags, flags_of(to, to->remote));
	span->area_size = (size_t)(at - span->area);
}

void span_fail(struct span *span, struct slice error_type, struct slice message)
{
	struct attr attr;

	if (!span->recording || span->failed)
		return;
	span->failed = true;
	span->message_size = utf8_mend(message, span->message, sizeof(span->message));
	if (error_type.size == 0)
		error_type = SLICE("_OTHER");
	attr = attr_text(SLICE("error.type"), utf8_cut(error_type, ERROR_TYPE_MAX));
	put_attr(span, &attr, UINT_MAX, AREA_SIZE);
}

static char *put_status(char *at, const struct span *span)
{
	size_t message = span->message_size ? wire_bytes_size(span->message_size) : 0;

	at = wire_varint(wire_tag(at, FIELD_status, WIRE_BYTES), message + 2);
	if (message > 0)
		at = wire_bytes(at, STATUS_message, span->message, span->message_size);
	return wire_number(at, STATUS_code, STATUS_ERROR);
}

static char *put_generation(char *at, uint32_t generation)
{
	struct attr attr = attr_integer(SLICE("orrery.generation"), generation);

	return wire_key_value(at, FIELD_attributes, &attr);
}

/* Writes the OTLP Span message: at most HEAD_MAX and its texts. */
static char *span_encode(const struct span *span, struct mono ended, char *at)
{
	const struct trace_context *context = &span->context;
	uint64_t start = (uint64_t)span->start.ns;
	uint64_t lasted =
		ended.ns > span->began.ns ? (uint64_t)(ended.ns - span->began.ns) : 0;

	at = wire_bytes(at, FIELD_trace_id, context->trace_id, sizeof(context->trace_id));
	at = wire_bytes(at, FIELD_span_id, context->span_id, sizeof(context->span_id));
	if (context->state.size > 0)
		at = wire_bytes(at, FIELD_trace_state, context->state.at,
				context->state.size);
	if (span->has_parent)
		at = wire_bytes(at, FIELD_parent_span_id, span->parent_id,
				sizeof(span->parent_id));
	at = wire_bytes(at, FIELD_name, span->name, span->name_size);
	at = wire_number(at, FIELD_kind, span->kind);
	at = wire_fixed64(at, FIELD_start_time, start);
	at = wire_fixed64(at, FIELD_end_time, start + lasted);
	memcpy(at, span->area, span->area_size);
	at += span->area_size;
	if (context->generation > 0)
		at = put_generation(at, context->generation);
	if (span->dropped_attrs > 0)
		at = wire_number(at, FIELD_dropped_attributes, span->dropped_attrs);
	if (span->dropped_links > 0)
		at = wire_number(at, FIELD_dropped_links, span->dropped_links);
	if (span->failed)
		at = put_status(at, span);
	return wire_fixed32(at, FIELD_flags, flags_of(context, span->parent_remote));
}

/* Somebody looks on. */
static void span_tap_slow(const struct span *span)
{
	struct span_view view = {
		.kind = span->kind,
		.name = slice_of(span->name, span->name_size),
		.context = &span->context,
		.parent_id = span->has_parent ? span->parent_id : NULL,
		.failed = span->failed,
		.message = slice_of(span->message, span->message_size),
		.attrs = slice_of(span->area, span->area_size),
	};
	struct slice attrs = view.attrs;
	struct attr attr;

	while (span->failed && span_view_attr(&attrs, &attr))
		if (slice_equal(attr.key, SLICE("error.type")))
			view.error_type = attr.text;
	span->tracer->tap(span->tracer->tap_context, &view);
}

bool span_view_attr(struct slice *attrs, struct attr *attr)
{
	struct wire_field field;

	while (wire_read(attrs, &field))
		if (field.number == FIELD_attributes)
			return wire_read_attr(field.bytes, attr);
	return false;
}

void span_end(struct span *span)
{
	struct ring *ring;
	char *record;

	if (span == NULL)
		return;
	if (span->recording) {
		ring = span->tracer->ring;
		if (__builtin_expect(span->tracer->tap != NULL, 0))
			span_tap_slow(span);
		record = ring_begin(ring, HEAD_MAX + span->name_size +
						  span->message_size + span->area_size +
						  span->context.state.size);
		if (record)
			ring_commit(ring,
				    (size_t)(span_encode(span, clock_mono(), record) -
					     record));
	}
	span_give_back(span);
}

bool tracer_peek(struct tracer *tracer, struct slice *otlp_span)
{
	return ring_peek(tracer->ring, otlp_span);
}

void tracer_release(struct tracer *tracer)
{
	ring_release(tracer->ring);
}

uint64_t tracer_dropped(const struct tracer *tracer)
{
	return ring_dropped(tracer->ring);
}
