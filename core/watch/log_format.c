/* SPDX-License-Identifier: MIT */
/* log_format.c -- a log record as one line of JSON, in the words of a dialect, and the
 * names of severities.
 *
 * A dialect is a row of a table: what stands in front of the attributes, in which order,
 * and under which names. One writer reads the table. A line is one object without
 * duplicate keys: see put_name.
 */
#include "watch/log.h"

#include "base/check.h"
#include "base/hex.h"
#include "base/json.h"

#include <inttypes.h>
#include <stdio.h>

/* --- severities ------------------------------------------------------------------- */

/* By log_severity, from trace; each is four numbers. */
#define LEVELS 6

static const char *const upper[LEVELS] = { "TRACE", "DEBUG", "INFO",
					   "WARN",  "ERROR", "FATAL" };
static const char *const lower[LEVELS] = { "trace", "debug", "info",
					   "warn",  "error", "fatal" };
static const char *const python[LEVELS] = { "debug",   "debug", "info",
					    "warning", "error", "critical" };
static const char *const serilog[LEVELS] = { "Verbose", "Debug", "Information",
					     "Warning", "Error", "Fatal" };

static size_t level_of(enum log_severity severity)
{
	size_t level = severity < 1 ? 0 : (size_t)(severity - 1) / 4;

	return level < LEVELS ? level : LEVELS - 1;
}

const char *log_severity_name(enum log_severity severity)
{
	return upper[level_of(severity)];
}

bool log_severity_of(struct slice name, enum log_severity *severity)
{
	for (size_t i = 1; i < LEVELS; i++)
		if (slice_equal_nocase(name, slice_text(upper[i]))) {
			*severity = (enum log_severity)(4 * i + 1);
			return true;
		}
	return false;
}

/* --- dialects --------------------------------------------------------------------- */

enum member {
	MEMBER_none,
	MEMBER_time_iso, /* RFC 3339 */
	MEMBER_time_s, /* since the epoch, with a fraction */
	MEMBER_time_ms,
	MEMBER_level,
	MEMBER_service,
	MEMBER_message,
	MEMBER_trace_id, /* this and the next two: only in a trace */
	MEMBER_span_id,
	MEMBER_trace_flags,
	MEMBER_generation /* when it is known */
};

#define MEMBERS_MAX 9

/* A member's name as it stands on the line: names that are known are not looked at. */
#define KEY(name) SLICE("\"" name "\":")

static const struct dialect {
	const char *name;
	const char *const *levels; /* NULL: numbers from 10 to 60 */
	char mark; /* doubled where the name of an attribute begins with it */
	struct {
		struct slice key; /* as KEY has it */
		enum member member;
	} members[MEMBERS_MAX];
} dialects[LOG_DIALECTS] = {
	[LOG_DIALECT_default] = { "default",
				  upper,
				  0,
				  { { KEY("timestamp"), MEMBER_time_iso },
				    { KEY("level"), MEMBER_level },
				    { KEY("service"), MEMBER_service },
				    { KEY("message"), MEMBER_message },
				    { KEY("trace_id"), MEMBER_trace_id },
				    { KEY("span_id"), MEMBER_span_id },
				    { KEY("trace_flags"), MEMBER_trace_flags },
				    { KEY("generation"), MEMBER_generation } } },
	[LOG_DIALECT_trio] = { "trio",
			       lower,
			       0,
			       { { KEY("level"), MEMBER_level },
				 { KEY("trace_id"), MEMBER_trace_id },
				 { KEY("msg"), MEMBER_message },
				 { KEY("generation"), MEMBER_generation } } },
	[LOG_DIALECT_python] = { "python",
				 python,
				 0,
				 { { KEY("level"), MEMBER_level },
				   { KEY("msg"), MEMBER_message },
				   { KEY("timestamp"), MEMBER_time_iso },
				   { KEY("service"), MEMBER_service },
				   { KEY("trace_id"), MEMBER_trace_id },
				   { KEY("span_id"), MEMBER_span_id },
				   { KEY("generation"), MEMBER_generation } } },
	[LOG_DIALECT_zap] = { "zap",
			      lower,
			      0,
			      { { KEY("level"), MEMBER_level },
				{ KEY("timestamp"), MEMBER_time_s },
				{ KEY("msg"), MEMBER_message },
				{ KEY("service"), MEMBER_service },
				{ KEY("trace_id"), MEMBER_trace_id },
				{ KEY("span_id"), MEMBER_span_id },
				{ KEY("generation"), MEMBER_generation } } },
	[LOG_DIALECT_clef] = { "clef",
			       serilog,
			       '@',
			       { { KEY("@t"), MEMBER_time_iso },
				 { KEY("@mt"), MEMBER_message },
				 { KEY("@l"), MEMBER_level },
				 { KEY("@tr"), MEMBER_trace_id },
				 { KEY("@sp"), MEMBER_span_id },
				 { KEY("service"), MEMBER_service },
				 { KEY("generation"), MEMBER_generation } } },
	[LOG_DIALECT_pino] = { "pino",
			       NULL,
			       0,
			       { { KEY("level"), MEMBER_level },
				 { KEY("time"), MEMBER_time_ms },
				 { KEY("service"), MEMBER_service },
				 { KEY("msg"), MEMBER_message },
				 { KEY("trace_id"), MEMBER_trace_id },
				 { KEY("span_id"), MEMBER_span_id },
				 { KEY("generation"), MEMBER_generation } } },
};

bool log_dialect_of(struct slice name, enum log_dialect *dialect)
{
	for (size_t i = 0; i < LOG_DIALECTS; i++)
		if (slice_equal(name, slice_text(dialects[i].name))) {
			*dialect = (enum log_dialect)i;
			return true;
		}
	return false;
}

static struct slice name_of(struct slice key)
{
	return slice_of(key.at + 1, key.size - strlen("\"\":"));
}

/* --- what stands in front --------------------------------------------------------- */

static void put_key(struct json *json, struct slice key)
{
	json_raw(json, key);
	json->need_comma = false;
}

/* Text of so many bytes that needs no escaping, from text[1] on: gets its quotes. */
static void put_plain(struct json *json, char *text, size_t size)
{
	text[0] = text[size + 1] = '"';
	json_raw(json, slice_of(text, size + 2));
}

static void put_hex(struct json *json, struct slice key, const uint8_t *bytes,
		    size_t size)
{
	char text[2 * 16 + 2];

	hex_encode(bytes, size, text + 1);
	put_key(json, key);
	put_plain(json, text, 2 * size);
}

static void put_time(struct json *json, enum member member, struct wall time)
{
	char text[CLOCK_ISO_SIZE + 1];

	if (member == MEMBER_time_s) {
		snprintf(text, sizeof(text), "%" PRId64 ".%06d", time.ns / 1000000000,
			 (int)(time.ns / 1000 % 1000000));
		json_raw(json, slice_text(text));
	} else if (member == MEMBER_time_ms) {
		json_integer(json, time.ns / 1000000);
	} else {
		clock_iso(time, text + 1);
		put_plain(json, text, CLOCK_ISO_SIZE - 1);
	}
}

static void put_level(struct json *json, const char *const *levels, size_t level)
{
	if (levels)
		json_string(json, slice_text(levels[level]));
	else
		json_integer(json, 10 * ((int64_t)level + 1));
}

static void put_ids(struct json *json, struct slice key, enum member member,
		    const struct log_record *record)
{
	if (!record->in_trace)
		return;
	if (member == MEMBER_trace_id)
		put_hex(json, key, record->trace_id, sizeof(record->trace_id));
	else if (member == MEMBER_span_id)
		put_hex(json, key, record->span_id, sizeof(record->span_id));
	else
		put_hex(json, key, &record->trace_flags, 1);
}

static void put_member(struct json *json, const struct dialect *dialect, size_t i,
		       const struct log_record *record, struct slice service)
{
	enum member member = dialect->members[i].member;
	struct slice key = dialect->members[i].key;

	if (member == MEMBER_generation && record->generation == 0)
		return;
	if (member >= MEMBER_trace_id && member <= MEMBER_trace_flags) {
		put_ids(json, key, member, record);
		return;
	}
	put_key(json, key);
	if (member == MEMBER_level)
		put_level(json, dialect->levels, level_of(record->severity));
	else if (member == MEMBER_service)
		json_string(json, service);
	else if (member == MEMBER_message)
		json_string(json, record->message);
	else if (member == MEMBER_generation)
		json_integer(json, record->generation);
	else
		put_time(json, member, record->time);
}

/* --- attributes ------------------------------------------------------------------- */

/* The names that stand on the line, as they are written there. */
struct names {
	const struct dialect *dialect;
	uint64_t some; /* name_bit of each: most names are told apart by it */
	size_t count;
	struct {
		size_t at, size; /* in the output, which may move */
	} of[LOG_ATTRS_MAX];
};

static uint64_t name_bit(struct slice name)
{
	unsigned char first = name.size ? (unsigned char)name.at[0] : 0;
	unsigned char last = name.size ? (unsigned char)name.at[name.size - 1] : 0;

	return UINT64_C(1) << ((name.size * 7 + first * 3u + last) & 63);
}

static bool is_taken(const struct names *names, const struct buf *out, struct slice name)
{
	const struct dialect *dialect = names->dialect;

	if (!(names->some & name_bit(name)))
		return false;
	for (size_t i = 0; i < MEMBERS_MAX && dialect->members[i].member; i++)
		if (slice_equal(name_of(dialect->members[i].key), name))
			return true;
	for (size_t i = 0; i < names->count; i++)
		if (slice_equal(slice_of(out->at + names->of[i].at, names->of[i].size),
				name))
			return true;
	return false;
}

/* A name that the dialect uses itself, whether or not it does so on this line, or that
 * another attribute has, gets a "_" behind it, as many as it takes. Names are compared as
 * they are written: two that are mended alike are the same. */
static void put_name(struct json *json, struct names *names, struct slice name)
{
	struct buf *out = json->out;
	size_t at = out->size + json->need_comma + 1; /* behind the quote */

	json_key(json, name);
	if (names->dialect->mark && out->at[at] == names->dialect->mark) {
		buf_append_byte(out, ' ');
		memmove(out->at + at + 1, out->at + at, out->size - at - 1);
	}
	while (is_taken(names, out, slice_of(out->at + at, out->size - 2 - at))) {
		out->size -= 2;
		buf_append(out, SLICE("_\":"));
	}
	names->some |= name_bit(slice_of(out->at + at, out->size - 2 - at));
	if (names->count == LOG_ATTRS_MAX)
		return;
	names->of[names->count].at = at;
	names->of[names->count++].size = out->size - 2 - at;
}

static void put_value(struct json *json, const struct attr *attr)
{
	switch (attr->type) {
	case ATTR_text:
		json_string(json, attr->text);
		break;
	case ATTR_integer:
		json_integer(json, attr->integer);
		break;
	case ATTR_double:
		json_double(json, attr->number);
		break;
	case ATTR_bool:
		json_bool(json, attr->boolean);
		break;
	}
}

void log_format(struct buf *out, enum log_dialect dialect,
		const struct log_record *record, struct slice service)
{
	struct json json = json_to(out);
	struct names names; /* not zeroed: `of` is large, and `count` says what is set */

	check((unsigned)dialect < LOG_DIALECTS);
	names.dialect = &dialects[dialect];
	names.some = 0;
	names.count = 0;
	json_open_object(&json);
	for (size_t i = 0; i < MEMBERS_MAX && names.dialect->members[i].member; i++) {
		put_member(&json, names.dialect, i, record, service);
		names.some |= name_bit(name_of(names.dialect->members[i].key));
	}
	for (size_t i = 0; i < record->attr_count; i++) {
		put_name(&json, &names, record->attrs[i].key);
		put_value(&json, &record->attrs[i]);
	}
	json_close_object(&json);
	buf_append_byte(out, '\n');
}

void log_format_json(struct buf *out, const struct log_record *record,
		     struct slice service)
{
	log_format(out, LOG_DIALECT_default, record, service);
}
