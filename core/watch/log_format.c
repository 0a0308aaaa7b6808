/* SPDX-License-Identifier: MIT */
/* log_format.c -- a log record as one line of JSON, and the names of severities. */
#include "watch/log.h"

#include "base/hex.h"
#include "base/json.h"

static const struct {
	enum log_severity severity;
	const char *name;
} severities[] = {
	{ LOG_fatal, "FATAL" }, { LOG_error, "ERROR" }, { LOG_warn, "WARN" },
	{ LOG_info, "INFO" },	{ LOG_debug, "DEBUG" },
};

#define SEVERITIES (sizeof(severities) / sizeof(severities[0]))

const char *log_severity_name(enum log_severity severity)
{
	for (size_t i = 0; i < SEVERITIES; i++)
		if (severity >= severities[i].severity)
			return severities[i].name;
	return "TRACE";
}

bool log_severity_of(struct slice name, enum log_severity *severity)
{
	for (size_t i = 0; i < SEVERITIES; i++)
		if (slice_equal_nocase(name, slice_text(severities[i].name))) {
			*severity = severities[i].severity;
			return true;
		}
	return false;
}

static void put_hex(struct json *json, struct slice key, const uint8_t *bytes,
		    size_t size)
{
	char text[2 * 16 + 1];

	hex_encode(bytes, size, text);
	json_key(json, key);
	json_string(json, slice_of(text, 2 * size));
}

static void put_attr(struct json *json, const struct attr *attr)
{
	json_key(json, attr->key);
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

void log_format_json(struct buf *out, const struct log_record *record,
		     struct slice service)
{
	struct json json = json_to(out);
	char time[CLOCK_ISO_SIZE];

	clock_iso(record->time, time);
	json_open_object(&json);
	json_key(&json, SLICE("timestamp"));
	json_string(&json, slice_text(time));
	json_key(&json, SLICE("level"));
	json_string(&json, slice_text(log_severity_name(record->severity)));
	json_key(&json, SLICE("service"));
	json_string(&json, service);
	json_key(&json, SLICE("message"));
	json_string(&json, record->message);
	if (record->in_trace) {
		put_hex(&json, SLICE("trace_id"), record->trace_id,
			sizeof(record->trace_id));
		put_hex(&json, SLICE("span_id"), record->span_id,
			sizeof(record->span_id));
		put_hex(&json, SLICE("trace_flags"), &record->trace_flags, 1);
	}
	if (record->generation > 0) {
		json_key(&json, SLICE("generation"));
		json_integer(&json, record->generation);
	}
	for (size_t i = 0; i < record->attr_count; i++)
		put_attr(&json, &record->attrs[i]);
	json_close_object(&json);
	buf_append_byte(out, '\n');
}
