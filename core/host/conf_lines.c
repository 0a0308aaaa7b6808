/* SPDX-License-Identifier: MIT */
#include "host/conf_lines.h"

#include "base/arena.h"
#include "base/check.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>

#define DEPTH_MAX 16
#define KEY_SIZE_MAX 256

struct key {
	const char *path;
	unsigned line;
};

struct conf_lines {
	struct arena arena;
	struct key *all;
	size_t count;
};

enum word_kind { WORD_end, WORD_name, WORD_text, WORD_sign };

struct word {
	enum word_kind kind;
	struct slice text; /* of a text: without the quotes */
	unsigned line;
};

struct reader {
	const char *at, *end;
	unsigned line;
};

/* --- words ------------------------------------------------------------------------ */

static char peek(const struct reader *reader, size_t ahead)
{
	return reader->at + ahead < reader->end ? reader->at[ahead] : 0;
}

static void step(struct reader *reader)
{
	if (*reader->at++ == '\n')
		reader->line++;
}

/* At "[[" or "[==[": goes behind the end of it and gives what is inside. */
static bool read_long(struct reader *reader, struct slice *inside)
{
	size_t level = 0;
	const char *start;

	while (peek(reader, 1 + level) == '=')
		level++;
	if (peek(reader, 0) != '[' || peek(reader, 1 + level) != '[')
		return false;
	reader->at += level + 2;
	start = reader->at;
	while (reader->at < reader->end) {
		size_t signs = 0;

		if (peek(reader, 0) == ']')
			while (peek(reader, 1 + signs) == '=')
				signs++;
		if (peek(reader, 0) == ']' && signs == level &&
		    peek(reader, 1 + signs) == ']')
			break;
		step(reader);
	}
	*inside = slice_of(start, (size_t)(reader->at - start));
	if (reader->at < reader->end)
		reader->at += level + 2;
	return true;
}

static void skip_comment(struct reader *reader)
{
	struct slice inside;

	reader->at += 2;
	if (peek(reader, 0) == '[' && read_long(reader, &inside))
		return;
	while (reader->at < reader->end && *reader->at != '\n')
		reader->at++;
}

static struct slice read_quoted(struct reader *reader)
{
	char quote = *reader->at++;
	const char *start = reader->at;
	struct slice inside;

	while (reader->at < reader->end && *reader->at != quote) {
		if (*reader->at == '\\' && reader->at + 1 < reader->end)
			step(reader);
		step(reader);
	}
	inside = slice_of(start, (size_t)(reader->at - start));
	if (reader->at < reader->end)
		reader->at++;
	return inside;
}

static bool in_name(char c)
{
	return isalnum((unsigned char)c) || c == '_';
}

static struct word next_word(struct reader *reader)
{
	struct word word = { 0 };

	for (;;) {
		if (reader->at < reader->end && isspace((unsigned char)*reader->at))
			step(reader);
		else if (peek(reader, 0) == '-' && peek(reader, 1) == '-')
			skip_comment(reader);
		else
			break;
	}
	word.line = reader->line;
	word.text = slice_of(reader->at, 0);
	if (reader->at >= reader->end)
		return word;
	word.kind = WORD_text;
	if (*reader->at == '"' || *reader->at == '\'') {
		word.text = read_quoted(reader);
	} else if (*reader->at != '[' || !read_long(reader, &word.text)) {
		word.kind = in_name(*reader->at) ? WORD_name : WORD_sign;
		do
			step(reader);
		while (word.kind == WORD_name && in_name(peek(reader, 0)));
		word.text.size = (size_t)(reader->at - word.text.at);
	}
	return word;
}

/* --- keys ------------------------------------------------------------------------- */

struct nesting {
	char path[KEY_SIZE_MAX]; /* of the table being read */
	size_t sizes[DEPTH_MAX]; /* of path, by depth */
	size_t depth;
};

static bool is_sign(struct word word, char sign)
{
	return word.kind == WORD_sign && word.text.at[0] == sign;
}

static void add(struct conf_lines *lines, const struct nesting *nesting, struct slice key,
		unsigned line)
{
	char path[2 * KEY_SIZE_MAX];
	int size = snprintf(path, sizeof(path), "%s%s%.*s", nesting->path,
			    *nesting->path ? "." : "", SLICE_PRINT(key));

	if (size <= 0 || size >= KEY_SIZE_MAX)
		return;
	lines->all = mem_resize(lines->all, (lines->count + 1) * sizeof(*lines->all));
	lines->all[lines->count++] =
		(struct key){ arena_copy(&lines->arena, slice_of(path, (size_t)size)).at,
			      line };
}

/* name: of the key it is the value of; "?" for none. At the top only what is returned has
 * no name. */
static void open_table(struct nesting *nesting, struct slice name)
{
	size_t size = strlen(nesting->path);

	if (nesting->depth < DEPTH_MAX)
		nesting->sizes[nesting->depth] = size;
	if (nesting->depth++ == 0 && slice_equal(name, SLICE("return")))
		return;
	snprintf(nesting->path + size, sizeof(nesting->path) - size, "%s%.*s",
		 size ? "." : "", SLICE_PRINT(name));
}

static void close_table(struct nesting *nesting)
{
	if (nesting->depth == 0)
		return;
	if (--nesting->depth < DEPTH_MAX)
		nesting->path[nesting->sizes[nesting->depth]] = 0;
}

/* What the table that opens behind this word is called. */
static struct slice table_name(const struct nesting *nesting, struct slice key,
			       struct word last)
{
	if (key.at)
		return key;
	if (nesting->depth == 0 && slice_equal(last.text, SLICE("return")))
		return last.text;
	return SLICE("?");
}

struct conf_lines *conf_lines_read(struct slice text)
{
	struct conf_lines *lines = mem_zeroed(1, sizeof(*lines));
	struct reader reader = { text.at, text.size ? text.at + text.size : text.at, 1 };
	struct nesting nesting = { 0 };
	struct word last = { 0 }, before = { 0 }, word;
	struct slice key = { 0 }; /* whose value comes next */

	while ((word = next_word(&reader)).kind != WORD_end) {
		bool assigns = is_sign(word, '=') && peek(&reader, 0) != '=' &&
			       nesting.depth > 0;

		if (is_sign(word, '{'))
			open_table(&nesting, table_name(&nesting, key, last));
		else if (is_sign(word, '}'))
			close_table(&nesting);
		key = (struct slice){ 0 };
		if (assigns && last.kind == WORD_name)
			key = last.text;
		else if (assigns && is_sign(last, ']') && before.kind == WORD_text)
			key = before.text;
		if (key.at)
			add(lines, &nesting, key, last.line);
		before = last;
		last = word;
	}
	return lines;
}

void conf_lines_destroy(struct conf_lines *lines)
{
	if (!lines)
		return;
	arena_finish(&lines->arena);
	free(lines->all);
	free(lines);
}

unsigned conf_lines_of(const struct conf_lines *lines, const char *key)
{
	for (size_t i = lines->count; i > 0; i--) /* of two the last one counts */
		if (strcmp(lines->all[i - 1].path, key) == 0)
			return lines->all[i - 1].line;
	return 0;
}

bool conf_lines_at(const struct conf_lines *lines, size_t index, const char **key,
		   unsigned *line)
{
	if (index >= lines->count)
		return false;
	*key = lines->all[index].path;
	*line = lines->all[index].line;
	return true;
}
