/* SPDX-License-Identifier: MIT */
#include "script/excerpt.h"

#include "base/json.h"
#include "base/utf8.h"
#include "script/loader.h"

#include <stdio.h>
#include <string.h>

/* --- where ------------------------------------------------------------------------ */

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

/* What cannot stand in the name of a file that is named within a text. */
static bool ends_name(char c)
{
	return (unsigned char)c <= ' ' || strchr("'\"`<>()[],;:", c);
}

/* The name's first byte; the text before it, when all of it may be a name too: a path
 * with spaces in it. */
static size_t name_start(struct slice text, size_t end)
{
	size_t start = end;

	while (start > 0 && !ends_name(text.at[start - 1]))
		start--;
	if (start > 0 && text.at[0] == '/' && !memchr(text.at, ':', end) &&
	    !memchr(text.at, '\n', end))
		return 0;
	return start;
}

/* The number after the colon at text.at[colon]; 0 when there is none. */
static unsigned read_line(struct slice text, size_t colon)
{
	unsigned line = 0;
	size_t i = colon + 1;

	while (i < text.size && is_digit(text.at[i]) && line < 100000000)
		line = line * 10 + (unsigned)(text.at[i++] - '0');
	return i < text.size && is_digit(text.at[i]) ? 0 : line;
}

bool excerpt_locate(struct slice text, struct excerpt *excerpt)
{
	static const char ending[] = ".lua:";
	struct slice rest = text;
	const char *at;

	*excerpt = (struct excerpt){ 0 };
	while (rest.size && (at = memmem(rest.at, rest.size, ending, strlen(ending)))) {
		size_t colon = (size_t)(at - text.at) + strlen(ending) - 1;
		size_t start = name_start(text, (size_t)(at - text.at));
		unsigned line = read_line(text, colon);

		if (line && text.at + start < at) {
			excerpt->file = slice_of(text.at + start, colon - start);
			excerpt->line = line;
			return true;
		}
		rest = slice_of(text.at + colon, text.size - colon);
	}
	return false;
}

/* --- the lines -------------------------------------------------------------------- */

static struct slice shown(struct slice line)
{
	if (slice_ends_with(line, SLICE("\r")))
		line.size--;
	return utf8_cut(line, EXCERPT_LINE_MAX);
}

void excerpt_fill(struct excerpt *excerpt, struct slice source)
{
	unsigned line = excerpt->line, number = 0;
	struct slice text;

	excerpt->first = line > EXCERPT_AROUND ? line - EXCERPT_AROUND : 1;
	excerpt->count = 0;
	if (slice_ends_with(source, SLICE("\n")))
		source.size--;
	while (number < line + EXCERPT_AROUND && slice_cut(&source, '\n', &text))
		if (++number >= excerpt->first)
			excerpt->lines[excerpt->count++] = shown(text);
	if (number < line)
		excerpt->count = 0; /* another file, or another version of it */
}

bool excerpt_find(const struct vm *vm, struct slice text, struct excerpt *excerpt)
{
	if (!excerpt_locate(text, excerpt))
		return false;
	excerpt_fill(excerpt, loader_source(vm, excerpt->file));
	return true;
}

/* --- shown ------------------------------------------------------------------------ */

void excerpt_write(const struct excerpt *excerpt, struct json *json)
{
	json_key(json, SLICE("file"));
	json_string(json, excerpt->file);
	json_key(json, SLICE("line"));
	json_integer(json, excerpt->line);
	if (!excerpt->count)
		return;
	json_key(json, SLICE("excerpt"));
	json_open_array(json);
	for (size_t i = 0; i < excerpt->count; i++) {
		json_open_object(json);
		json_key(json, SLICE("line"));
		json_integer(json, excerpt->first + (int64_t)i);
		json_key(json, SLICE("text"));
		json_string(json, excerpt->lines[i]);
		json_close_object(json);
	}
	json_close_array(json);
}

/* A source may hold anything; a console obeys some of it. */
static void print_line(struct buf *out, struct slice line)
{
	for (size_t i = 0; i < line.size; i++) {
		unsigned char c = (unsigned char)line.at[i];

		buf_append_byte(out,
				c == '\t' || (c >= ' ' && c != 0x7f) ? (char)c : '?');
	}
}

void excerpt_print(const struct excerpt *excerpt, struct buf *out)
{
	char last[16];
	int width = snprintf(last, sizeof(last), "%zu", excerpt->first + excerpt->count);

	if (!excerpt->file.size)
		return;
	buf_printf(out, "  %.*s:%u\n", SLICE_PRINT(excerpt->file), excerpt->line);
	for (size_t i = 0; i < excerpt->count; i++) {
		unsigned number = excerpt->first + (unsigned)i;

		buf_printf(out, "  %c %*u |%s", number == excerpt->line ? '>' : ' ',
			   width, number, excerpt->lines[i].size ? " " : "");
		print_line(out, excerpt->lines[i]);
		buf_append_byte(out, '\n');
	}
}

/* --- tracebacks ------------------------------------------------------------------- */

bool traceback_next(struct slice *rest, struct slice *line)
{
	while (slice_cut(rest, '\n', line)) {
		*line = slice_trim(*line);
		if (line->size && !slice_equal(*line, SLICE("stack traceback:")))
			return true;
	}
	return false;
}

void traceback_write(struct slice traceback, struct json *json)
{
	struct slice line;

	json_open_array(json);
	while (traceback_next(&traceback, &line))
		json_string(json, line);
	json_close_array(json);
}
