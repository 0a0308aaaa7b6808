/* SPDX-License-Identifier: MIT */
/* trace_parse.c -- W3C Trace Context Level 2: traceparent and tracestate, in and out. */
#include "watch/trace.h"

#include "base/hex.h"

#define STATE_MEMBERS_MAX 32
#define STATE_TEXT_MAX 256

/* Where the parts of a traceparent stand: 00-TRACE-PARENT-FLAGS. */
enum { AT_VERSION = 0, AT_TRACE = 3, AT_PARENT = 36, AT_FLAGS = 53, AT_END = 55 };

static bool all_zero(const uint8_t *bytes, size_t size)
{
	for (size_t i = 0; i < size; i++)
		if (bytes[i] != 0)
			return false;
	return true;
}

static bool parse_parent(struct slice text, struct trace_context *parent)
{
	uint8_t version, flags;

	text = slice_trim(text);
	if (text.size < AT_END || !hex_decode(slice_of(text.at, 2), &version) ||
	    version == 0xff)
		return false;
	/* A later version may say more behind what we know; this one may not. */
	if (text.size > AT_END && (version == 0 || text.at[AT_END] != '-'))
		return false;
	if (text.at[AT_TRACE - 1] != '-' || text.at[AT_PARENT - 1] != '-' ||
	    text.at[AT_FLAGS - 1] != '-')
		return false;
	if (!hex_decode(slice_of(text.at + AT_TRACE, 32), parent->trace_id) ||
	    !hex_decode(slice_of(text.at + AT_PARENT, 16), parent->span_id) ||
	    !hex_decode(slice_of(text.at + AT_FLAGS, 2), &flags))
		return false;
	if (all_zero(parent->trace_id, sizeof(parent->trace_id)) ||
	    all_zero(parent->span_id, sizeof(parent->span_id)))
		return false;
	parent->flags = flags & (TRACE_FLAG_SAMPLED | TRACE_FLAG_RANDOM);
	parent->remote = true;
	return true;
}

static bool is_key_start(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}

static bool is_key(struct slice key)
{
	if (key.size == 0 || key.size > STATE_TEXT_MAX || !is_key_start(key.at[0]))
		return false;
	for (size_t i = 1; i < key.size; i++)
		if (!is_key_start(key.at[i]) && !memchr("_*/@-", key.at[i], 5))
			return false;
	return true;
}

static bool is_value(struct slice value)
{
	if (value.size == 0 || value.size > STATE_TEXT_MAX ||
	    value.at[value.size - 1] == ' ')
		return false;
	for (size_t i = 0; i < value.size; i++)
		if (value.at[i] < 0x20 || value.at[i] > 0x7e || value.at[i] == '=')
			return false;
	return true;
}

/* One bad member spoils the whole list; so does a 33rd. */
static bool is_state(struct slice state)
{
	struct slice member, key;
	size_t members = 0;

	while (slice_cut(&state, ',', &member)) {
		member = slice_trim(member);
		if (member.size == 0)
			continue;
		slice_cut(&member, '=', &key);
		if (!is_key(key) || !is_value(member) || ++members > STATE_MEMBERS_MAX)
			return false;
	}
	return members > 0;
}

bool trace_parse(struct slice traceparent, struct slice tracestate,
		 struct trace_context *parent)
{
	*parent = (struct trace_context){ 0 };
	if (!parse_parent(traceparent, parent)) {
		*parent = (struct trace_context){ 0 };
		return false;
	}
	tracestate = slice_trim(tracestate);
	if (is_state(tracestate))
		parent->state = tracestate;
	return true;
}

void trace_format(const struct trace_context *context, char text[TRACEPARENT_SIZE])
{
	memcpy(text, "00-", 3);
	hex_encode(context->trace_id, sizeof(context->trace_id), text + AT_TRACE);
	text[AT_PARENT - 1] = '-';
	hex_encode(context->span_id, sizeof(context->span_id), text + AT_PARENT);
	text[AT_FLAGS - 1] = '-';
	hex_encode(&context->flags, 1, text + AT_FLAGS);
}

void trace_id_text(const struct trace_context *context, char text[33])
{
	hex_encode(context->trace_id, sizeof(context->trace_id), text);
}
