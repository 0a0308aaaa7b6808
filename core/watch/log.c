/* SPDX-License-Identifier: MIT */
/* log.c -- records in rings, one ring a thread; one reader.
 *
 * log_write is a hot path: about 100 ns for six attributes (test/bench/watch_bench.c), no
 * malloc, no lock. A record is laid out in the ring as the reader wants to see it,
 * pointers into the ring included:
 *
 *     struct log_record | struct attr * count | texts
 *
 * The list of logs is only ever added to, at its head, so walking it needs no lock.
 */
#include "watch/log.h"

#include "base/check.h"
#include "base/utf8.h"
#include "watch/ring.h"
#include "watch/trace.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#define TEXT_MAX 8192
#define LINE_MAX_PRINTF 1024
#define TURN 64 /* records taken from one ring before the next has its turn */

struct log {
	struct log *next;
	struct log_hub *hub;
	struct ring *ring;
	enum log_severity minimum;
	uint32_t generation;
};

struct log_hub {
	_Atomic(struct log *) logs;
	_Atomic bool sleeping; /* the reader is, or is about to */
	enum log_severity minimum;
	log_wake_fn *wake;
	void *wake_context;
};

struct log_hub *log_hub_create(enum log_severity minimum, log_wake_fn *wake,
			       void *context)
{
	struct log_hub *hub = mem_zeroed(1, sizeof(*hub));

	hub->minimum = minimum;
	hub->wake = wake;
	hub->wake_context = context;
	return hub;
}

void log_hub_destroy(struct log_hub *hub)
{
	struct log *log;

	if (hub == NULL)
		return;
	log = atomic_load(&hub->logs);
	while (log) {
		struct log *next = log->next;

		ring_destroy(log->ring);
		free(log);
		log = next;
	}
	free(hub);
}

struct log *log_create(struct log_hub *hub, size_t ring_bytes)
{
	struct log *log = mem_zeroed(1, sizeof(*log));

	log->hub = hub;
	log->minimum = hub->minimum;
	log->ring = ring_create(ring_bytes);
	log->next = atomic_load(&hub->logs);
	while (!atomic_compare_exchange_weak(&hub->logs, &log->next, log))
		;
	return log;
}

void log_set_generation(struct log *log, uint32_t generation)
{
	log->generation = generation;
}

bool log_enabled(const struct log *log, enum log_severity severity)
{
	return severity >= log->minimum;
}

static size_t attr_bytes(const struct attr *attr)
{
	size_t text = attr->type == ATTR_text ? attr->text.size : 0;

	return (attr->key.size < TEXT_MAX ? attr->key.size : TEXT_MAX) +
	       (text < TEXT_MAX ? text : TEXT_MAX);
}

/* Copies the text to *at, which moves on, and makes it a slice of the copy. */
static void keep_text(char **at, struct slice *text)
{
	*text = utf8_cut(*text, TEXT_MAX);
	if (text->size > 0)
		memcpy(*at, text->at, text->size);
	text->at = *at;
	*at += text->size;
}

static void wake_reader(struct log_hub *hub)
{
	if (atomic_load_explicit(&hub->sleeping, memory_order_seq_cst) &&
	    atomic_exchange(&hub->sleeping, false))
		hub->wake(hub->wake_context);
}

void log_write(struct log *log, enum log_severity severity,
	       const struct trace_context *trace, struct slice message,
	       const struct attr *attrs, size_t attr_count)
{
	size_t size = sizeof(struct log_record);
	struct log_record *record;
	struct attr *kept;
	char *texts;

	if (!log_enabled(log, severity))
		return;
	if (attr_count > LOG_ATTRS_MAX)
		attr_count = LOG_ATTRS_MAX;
	size += message.size < TEXT_MAX ? message.size : TEXT_MAX;
	for (size_t i = 0; i < attr_count; i++)
		size += sizeof(struct attr) + attr_bytes(&attrs[i]);
	record = ring_begin(log->ring, size);
	if (record == NULL)
		return;
	kept = (struct attr *)(record + 1);
	texts = (char *)(kept + attr_count);
	*record = (struct log_record){
		.time = clock_wall(),
		.severity = severity,
		.in_trace = trace != NULL,
		.generation =
			trace && trace->generation ? trace->generation : log->generation,
		.message = message,
		.attrs = kept,
		.attr_count = attr_count,
	};
	if (trace) {
		memcpy(record->trace_id, trace->trace_id, sizeof(record->trace_id));
		memcpy(record->span_id, trace->span_id, sizeof(record->span_id));
		record->trace_flags = trace->flags;
	}
	keep_text(&texts, &record->message);
	for (size_t i = 0; i < attr_count; i++) {
		kept[i] = attrs[i];
		keep_text(&texts, &kept[i].key);
		if (kept[i].type == ATTR_text)
			keep_text(&texts, &kept[i].text);
	}
	ring_commit(log->ring, (size_t)(texts - (char *)record));
	wake_reader(log->hub);
}

void log_printf(struct log *log, enum log_severity severity, const char *format, ...)
{
	char text[LINE_MAX_PRINTF];
	va_list args;
	int length;

	if (!log_enabled(log, severity))
		return;
	va_start(args, format);
	length = vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	if (length < 0)
		return;
	if ((size_t)length >= sizeof(text))
		length = sizeof(text) - 1;
	log_write(log, severity, NULL, slice_of(text, (size_t)length), NULL, 0);
}

static size_t drain_one(struct log *log, size_t most, log_each_fn *each, void *context)
{
	size_t count = 0;
	struct slice record;

	while (count < most && ring_peek(log->ring, &record)) {
		each(context, (const struct log_record *)(const void *)record.at);
		ring_release(log->ring);
		count++;
	}
	return count;
}

size_t log_hub_drain(struct log_hub *hub, size_t most, log_each_fn *each, void *context)
{
	size_t total = 0, round;

	do {
		round = 0;
		for (struct log *log = atomic_load(&hub->logs); log; log = log->next) {
			size_t left = most - total - round;

			round += drain_one(log, left < TURN ? left : TURN, each, context);
		}
		total += round;
	} while (round > 0 && total < most);
	return total;
}

bool log_hub_sleep(struct log_hub *hub)
{
	atomic_store_explicit(&hub->sleeping, true, memory_order_seq_cst);
	for (struct log *log = atomic_load(&hub->logs); log; log = log->next)
		if (ring_used_bytes(log->ring) > 0) {
			atomic_store(&hub->sleeping, false);
			return false;
		}
	return true;
}

uint64_t log_hub_dropped(const struct log_hub *hub)
{
	uint64_t dropped = 0;

	for (struct log *log = atomic_load(&hub->logs); log; log = log->next)
		dropped += ring_dropped(log->ring);
	return dropped;
}
