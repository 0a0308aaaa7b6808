/* SPDX-License-Identifier: MIT */
/* pg_section.c -- line by line; SQL itself is not looked at. */
#include "store/pg_section.h"

struct reader {
	struct pg_section *sections;
	size_t count;
	unsigned line;
	struct fault *why;
};

static struct slice without_return(struct slice line)
{
	if (line.size > 0 && line.at[line.size - 1] == '\r')
		line.size--;
	return line;
}

static bool is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

/* Takes blank space off both ends, and counts the lines taken off the front. */
static void tidy(struct pg_section *section)
{
	struct slice *sql = &section->sql;

	while (sql->size > 0 && is_blank(sql->at[0])) {
		section->line += sql->at[0] == '\n';
		sql->at++;
		sql->size--;
	}
	while (sql->size > 0 && is_blank(sql->at[sql->size - 1]))
		sql->size--;
}

/* The line begins a section: "-- migration N: words". */
static bool begin(struct reader *reader, struct slice line)
{
	struct pg_section *section = &reader->sections[reader->count];
	struct slice rest = line, number;
	unsigned long long version = 0;

	slice_cut(&rest, ':', &number);
	number = slice_of(number.at + strlen("-- migration"),
			  number.size - strlen("-- migration"));
	if (!slice_to_uint(slice_trim(number), &version) || !rest.at ||
	    slice_trim(rest).size == 0)
		return fault_set(reader->why, FAULT_bad_input,
				 "line %u: expected \"-- migration N: words\"",
				 reader->line);
	if (reader->count == PG_SECTIONS_MAX || version != reader->count + 1)
		return fault_set(reader->why, FAULT_bad_input,
				 "line %u: migration %llu where %zu was expected",
				 reader->line, version, reader->count + 1);
	section->version = (unsigned)version;
	section->name = slice_trim(rest);
	section->line = reader->line + 1;
	section->sql = slice_of(NULL, 0);
	reader->count++;
	return true;
}

static bool finish(struct reader *reader)
{
	struct pg_section *last = &reader->sections[reader->count - 1];

	if (reader->count == 0)
		return true;
	tidy(last);
	if (last->sql.size == 0)
		return fault_set(reader->why, FAULT_bad_input, "migration %u is empty",
				 last->version);
	return true;
}

static bool take_line(struct reader *reader, struct slice line)
{
	struct slice bare = slice_trim(without_return(line));

	if (slice_starts_with(line, SLICE("-- migration")))
		return finish(reader) && begin(reader, without_return(line));
	if (reader->count > 0) {
		struct slice *sql = &reader->sections[reader->count - 1].sql;

		if (!sql->at)
			sql->at = line.at;
		sql->size = (size_t)(line.at + line.size - sql->at);
		return true;
	}
	if (bare.size > 0 && !slice_starts_with(bare, SLICE("--")))
		return fault_set(
			reader->why, FAULT_bad_input,
			"line %u: SQL before the first \"-- migration 1: words\"",
			reader->line);
	return true;
}

bool pg_sections_read(struct slice text, struct pg_section sections[PG_SECTIONS_MAX],
		      size_t *count, struct fault *why)
{
	struct reader reader = { sections, 0, 0, why };
	struct slice rest = text, line;

	while (slice_cut(&rest, '\n', &line)) {
		reader.line++;
		if (!take_line(&reader, line))
			return false;
	}
	if (!finish(&reader))
		return false;
	*count = reader.count;
	return true;
}
