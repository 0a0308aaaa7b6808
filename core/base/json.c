/* SPDX-License-Identifier: MIT */
/* json.c -- JSON text into a buf. */
#include "base/json.h"

#include "base/number.h"
#include "base/utf8.h"

#include <math.h>

static void begin_value(struct json *json)
{
	if (json->need_comma)
		buf_append_byte(json->out, ',');
	json->need_comma = true;
}

static void open_with(struct json *json, char bracket)
{
	begin_value(json);
	buf_append_byte(json->out, bracket);
	json->need_comma = false;
}

static void close_with(struct json *json, char bracket)
{
	buf_append_byte(json->out, bracket);
	json->need_comma = true;
}

void json_open_object(struct json *json)
{
	open_with(json, '{');
}

void json_close_object(struct json *json)
{
	close_with(json, '}');
}

void json_open_array(struct json *json)
{
	open_with(json, '[');
}

void json_close_array(struct json *json)
{
	close_with(json, ']');
}

static void put_escaped(struct buf *out, unsigned char byte)
{
	static const char hex[] = "0123456789abcdef";
	char text[6] = { '\\', 'u', '0', '0', hex[byte >> 4], hex[byte & 15] };
	static const char known[] = "\"\"\\\\\bb\ff\nn\rr\tt";

	for (size_t i = 0; i < sizeof(known) - 1; i += 2)
		if ((unsigned char)known[i] == byte) {
			text[1] = known[i + 1];
			buf_append(out, slice_of(text, 2));
			return;
		}
	buf_append(out, slice_of(text, sizeof(text)));
}

/* How many bytes from the start can be copied as they are. */
static size_t plain_prefix(struct slice s)
{
	size_t i = 0;

	while (i < s.size && (unsigned char)s.at[i] >= 0x20 && s.at[i] != '"' &&
	       s.at[i] != '\\') {
		size_t character = 1;

		if ((unsigned char)s.at[i] >= 0x80)
			character = utf8_character(slice_of(s.at + i, s.size - i));
		if (character == 0)
			break;
		i += character;
	}
	return i;
}

/* Printable ASCII but for what JSON escapes. */
static bool is_plain(char c)
{
	return c >= 0x20 && c < 0x7f && c != '"' && c != '\\';
}

/* What comes from the first character on that cannot be copied as it is. */
static void put_string_slow(struct buf *out, struct slice s)
{
	while (s.size > 0) {
		size_t plain = plain_prefix(s);

		buf_append(out, slice_of(s.at, plain));
		if (plain == s.size)
			break;
		if ((unsigned char)s.at[plain] >= 0x80)
			buf_append(out, SLICE(UTF8_REPLACEMENT));
		else
			put_escaped(out, (unsigned char)s.at[plain]);
		s.at += plain + 1;
		s.size -= plain + 1;
	}
	buf_append_byte(out, '"');
}

/* Nearly all strings are short and plain: they are looked at and copied in one go. */
static void put_string(struct buf *out, struct slice s)
{
	char *to = buf_reserve(out, s.size + 2);
	size_t i = 0;

	*to++ = '"';
	while (i < s.size && is_plain(s.at[i])) {
		to[i] = s.at[i];
		i++;
	}
	out->size += i + 1;
	if (__builtin_expect(i < s.size, 0)) {
		put_string_slow(out, slice_of(s.at + i, s.size - i));
	} else {
		to[i] = '"';
		out->size++;
	}
}

void json_key(struct json *json, struct slice key)
{
	begin_value(json);
	put_string(json->out, key);
	buf_append_byte(json->out, ':');
	json->need_comma = false;
}

void json_string(struct json *json, struct slice value)
{
	begin_value(json);
	put_string(json->out, value);
}

void json_integer(struct json *json, int64_t value)
{
	begin_value(json);
	json->out->size += number_integer(value, buf_reserve(json->out, NUMBER_SIZE));
}

void json_double(struct json *json, double value)
{
	if (!isfinite(value)) {
		json_null(json);
		return;
	}
	begin_value(json);
	json->out->size += number_double(value, buf_reserve(json->out, NUMBER_SIZE));
}

void json_bool(struct json *json, bool value)
{
	json_raw(json, value ? SLICE("true") : SLICE("false"));
}

void json_null(struct json *json)
{
	json_raw(json, SLICE("null"));
}

void json_raw(struct json *json, struct slice text)
{
	begin_value(json);
	buf_append(json->out, text);
}
