/* SPDX-License-Identifier: MIT */
/* log.h -- log records, from the thread they happen in to the thread that writes them.
 *
 * log_write copies a record into the thread's ring; it never blocks and never allocates.
 * When the ring is full the record is dropped and counted. Another thread drains all
 * rings, in the order of each, and formats: one JSON object a line (here) or OTLP
 * (otlp.h).
 *
 *   worker --log_write--> ring --log_hub_drain--> log_format --> standard output
 *
 * A line is written in the words of a dialect, so that services of one lab can look like
 * those of several languages. It changes nothing in the record, nor in OTLP:
 *
 *   default  timestamp, level, service, message, trace_id, span_id, trace_flags
 *   trio     level, trace_id, msg
 *   python   level, msg, timestamp, service, trace_id, span_id: as python-json-logger
 *            with a formatter that lowers the names of levels
 *   zap      the same members; timestamp in seconds since the epoch, as zap's production
 *            encoder has it
 *   clef     @t, @mt, @l, @tr, @sp, service: as Serilog's compact formatter. The message
 *            is the template, the attributes are its properties. @l is there for
 *            Information, too: CLEF may leave it out, and then nobody can search for it
 *   pino     level (30 is info), time in milliseconds, service, msg, trace_id, span_id
 *
 * then generation, when it is known, and the record's attributes. The ids are absent
 * without a trace. No key stands twice: an attribute whose name is taken, by a member of
 * the dialect or another attribute, gets a "_" behind it; in clef a leading @ is doubled.
 * Secrets never get here: callers pass names from their own code only.
 */
#ifndef WATCH_LOG_H
#define WATCH_LOG_H

#include "base/buf.h"
#include "base/clock.h"
#include "watch/attr.h"

struct trace_context;

/* OpenTelemetry's severity numbers. */
enum log_severity {
	LOG_debug = 5,
	LOG_info = 9,
	LOG_warn = 13,
	LOG_error = 17,
	LOG_fatal = 21
};

#define LOG_ATTRS_MAX 32

struct log_record {
	struct wall time;
	enum log_severity severity;
	bool in_trace; /* the next three are set */
	uint8_t trace_id[16];
	uint8_t span_id[8];
	uint8_t trace_flags;
	uint32_t generation; /* of the service; 0: unknown */
	struct slice message;
	const struct attr *attrs;
	size_t attr_count;
};

/* All logs of a process, and its one reader. */
struct log_hub;
struct log;

/* Wakes the reader: see log_hub_create. */
typedef void log_wake_fn(void *context);

/* Records below minimum are not taken. wake is called by a writer, on its thread, when it
 * writes a record while the reader sleeps (log_hub_sleep); it must be safe on any thread
 * (an eventfd write). */
struct log_hub *log_hub_create(enum log_severity minimum, log_wake_fn *wake,
			       void *context);
void log_hub_destroy(struct log_hub *hub); /* destroys its logs too */

/* One per writing thread; the hub owns it. Any thread. */
struct log *log_create(struct log_hub *hub, size_t ring_bytes);

/* Of the records to come whose trace has none; 0, as at first: unknown. */
void log_set_generation(struct log *log, uint32_t generation);

/* Copies. trace may be NULL: then the line has no trace fields. Texts are cut at 8 KiB
 * each, attributes beyond LOG_ATTRS_MAX are left out. */
void log_write(struct log *log, enum log_severity severity,
	       const struct trace_context *trace, struct slice message,
	       const struct attr *attrs, size_t attr_count);

/* For one-line reports: message is a format without attributes. */
void log_printf(struct log *log, enum log_severity severity, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

bool log_enabled(const struct log *log, enum log_severity severity);

/* Reader: calls each for up to `most` records, borrowed during the call. Gives how many
 * there were. */
typedef void log_each_fn(void *context, const struct log_record *record);
size_t log_hub_drain(struct log_hub *hub, size_t most, log_each_fn *each, void *context);

/* Reader: says it is about to sleep; false when records arrived meanwhile (then do not
 * sleep). */
bool log_hub_sleep(struct log_hub *hub);

uint64_t log_hub_dropped(const struct log_hub *hub);

const char *log_severity_name(enum log_severity severity); /* "INFO" */
bool log_severity_of(struct slice name, enum log_severity *severity);

enum log_dialect {
	LOG_DIALECT_default,
	LOG_DIALECT_trio,
	LOG_DIALECT_python,
	LOG_DIALECT_zap,
	LOG_DIALECT_clef,
	LOG_DIALECT_pino,
	LOG_DIALECTS
};

bool log_dialect_of(struct slice name, enum log_dialect *dialect);

/* Appends one line with its LF. service is the value of "service". */
void log_format(struct buf *out, enum log_dialect dialect,
		const struct log_record *record, struct slice service);

/* In the default dialect. */
void log_format_json(struct buf *out, const struct log_record *record,
		     struct slice service);

#endif
