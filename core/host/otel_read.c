/* SPDX-License-Identifier: MIT */
/* otel_read.c -- reading single values. */
#include "host/otel_read.h"

#include "base/check.h"
#include "base/utf8.h"

#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

static const char *const signal_words[OTEL_signals] = { "TRACES", "METRICS", "LOGS" };

const char *otel_getenv(void *context, const char *name)
{
	return getenv(name);
}

void otel_warn(struct otel_reader *reader, const char *format, ...)
{
	struct otel_config *config = reader->config;
	char text[300];
	va_list args;

	if (config->warning_count == OTEL_WARNINGS_MAX)
		return;
	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	config->warnings[config->warning_count++] =
		arena_copy(&config->arena, slice_text(text));
}

struct slice otel_value(struct otel_reader *reader, const char *name)
{
	return slice_trim(slice_text(reader->getenv(reader->context, name)));
}

struct slice otel_signal_value(struct otel_reader *reader, enum otel_signal signal,
			       const char *stem, char name[60])
{
	struct slice value;

	snprintf(name, 60, "OTEL_EXPORTER_OTLP_%s_%s", signal_words[signal], stem);
	value = otel_value(reader, name);
	if (value.size > 0)
		return value;
	snprintf(name, 60, "OTEL_EXPORTER_OTLP_%s", stem);
	return otel_value(reader, name);
}

bool otel_read_bool(struct otel_reader *reader, const char *name)
{
	struct slice value = otel_value(reader, name);

	if (value.size == 0 || slice_equal_nocase(value, SLICE("false")))
		return false;
	if (slice_equal_nocase(value, SLICE("true")))
		return true;
	otel_warn(reader, "%s is neither true nor false: false holds", name);
	return false;
}

int otel_read_ms(struct otel_reader *reader, const char *name, struct slice value,
		 int otherwise)
{
	unsigned long long number;

	if (value.size == 0)
		return otherwise;
	if (slice_to_uint(value, &number) && number <= INT_MAX)
		return (int)number;
	otel_warn(reader, "%s is not a number of milliseconds: %d holds", name,
		  otherwise);
	return otherwise;
}

size_t otel_read_count(struct otel_reader *reader, const char *name, size_t minimum,
		       size_t maximum, size_t otherwise)
{
	struct slice value = otel_value(reader, name);
	unsigned long long number;

	if (value.size == 0)
		return otherwise;
	if (slice_to_uint(value, &number) && number >= minimum && number <= maximum)
		return (size_t)number;
	otel_warn(reader, "%s is not a number from %zu to %zu: %zu holds", name, minimum,
		  maximum, otherwise);
	return otherwise;
}

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* False: a '%' without two hex digits, or what comes out is not UTF-8 or holds control
 * characters. */
static bool percent_decode(struct arena *arena, struct slice text, struct slice *decoded)
{
	char *out = arena_alloc(arena, text.size + 1);
	size_t size = 0;

	for (size_t i = 0; i < text.size; i++, size++) {
		int high, low;

		out[size] = text.at[i];
		if (text.at[i] == '%') {
			high = i + 2 < text.size ? hex_digit(text.at[i + 1]) : -1;
			low = i + 2 < text.size ? hex_digit(text.at[i + 2]) : -1;
			if (high < 0 || low < 0)
				return false;
			out[size] = (char)(high << 4 | low);
			i += 2;
		}
		if ((unsigned char)out[size] < 0x20 || out[size] == 0x7f)
			return false;
	}
	*decoded = slice_of(out, size);
	return utf8_valid(*decoded) == size;
}

bool otel_next_pair(struct otel_reader *reader, struct slice *rest, struct slice *key,
		    struct slice *value, bool *bad)
{
	struct arena *arena = &reader->config->arena;
	struct slice member, raw;

	*bad = false;
	do {
		if (!slice_cut(rest, ',', &member))
			return false;
		member = slice_trim(member);
	} while (member.size == 0);
	slice_cut(&member, '=', &raw);
	*bad = member.at == NULL || slice_trim(raw).size == 0 ||
	       !percent_decode(arena, slice_trim(raw), key) ||
	       !percent_decode(arena, slice_trim(member), value);
	return !*bad;
}

bool otel_list_has(struct slice list, struct slice word)
{
	struct slice member;

	while (slice_cut(&list, ',', &member))
		if (slice_equal_nocase(slice_trim(member), word))
			return true;
	return false;
}
