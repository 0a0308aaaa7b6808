/* SPDX-License-Identifier: MIT */
#include "host/findings.h"

#include "base/arena.h"
#include "base/buf.h"
#include "base/check.h"
#include "script/excerpt.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#define FILE_SIZE_MAX (1u << 20)

struct finding {
	struct slice path; /* below the root, or absolute */
	unsigned line;
	struct slice message;
	bool raised; /* told by running the file, not by reading it */
};

struct findings {
	struct arena arena;
	struct slice root;
	struct finding *all;
	size_t count;
};

struct findings *findings_create(const char *root)
{
	struct findings *findings = mem_zeroed(1, sizeof(*findings));

	findings->root = arena_copy(&findings->arena, slice_text(root));
	return findings;
}

void findings_destroy(struct findings *findings)
{
	if (!findings)
		return;
	arena_finish(&findings->arena);
	free(findings->all);
	free(findings);
}

size_t findings_count(const struct findings *findings)
{
	return findings->count;
}

bool findings_read(const char *path, struct buf *text, struct fault *why)
{
	FILE *file = fopen(path, "rb");
	size_t size, before = text->size;
	bool failed;

	if (!file)
		return fault_set(why, FAULT_missing, "%s", strerror(errno));
	do {
		size = fread(buf_reserve(text, 16384), 1, 16384, file);
		text->size += size;
	} while (size > 0 && text->size - before <= FILE_SIZE_MAX);
	failed = ferror(file);
	fclose(file);
	if (failed)
		return fault_set(why, FAULT_internal, "cannot be read");
	if (text->size - before > FILE_SIZE_MAX)
		return fault_set(why, FAULT_limit, "is larger than %u bytes",
				 FILE_SIZE_MAX);
	return true;
}

/* --- adding ----------------------------------------------------------------------- */

static struct slice below_root(const struct findings *findings, struct slice path)
{
	size_t above = findings->root.size + 1;

	if (path.size > above && slice_starts_with(path, findings->root) &&
	    path.at[above - 1] == '/')
		return slice_of(path.at + above, path.size - above);
	return path;
}

/* Of one line, what reading it told is better than what running it raised. */
static bool is_told(struct findings *findings, struct slice path, unsigned line,
		    struct slice message, bool raised)
{
	for (size_t i = 0; i < findings->count; i++) {
		struct finding *finding = &findings->all[i];

		if (finding->line != line || !slice_equal(finding->path, path))
			continue;
		if (slice_equal(finding->message, message) || (raised && line))
			return true;
		if (finding->raised && line) {
			finding->message = arena_copy(&findings->arena, message);
			finding->raised = false;
			return true;
		}
	}
	return false;
}

static void add(struct findings *findings, struct slice path, unsigned line,
		struct slice message, bool raised)
{
	path = below_root(findings, path);
	if (is_told(findings, path, line, message, raised))
		return;
	findings->all =
		mem_resize(findings->all, (findings->count + 1) * sizeof(*findings->all));
	findings->all[findings->count++] =
		(struct finding){ arena_copy(&findings->arena, path), line,
				  arena_copy(&findings->arena, message), raised };
}

void findings_add(struct findings *findings, const char *path, unsigned line,
		  const char *format, ...)
{
	struct buf message = { 0 };
	va_list args;

	va_start(args, format);
	buf_vprintf(&message, format, args);
	va_end(args);
	add(findings, slice_text(path), line, buf_slice(&message), false);
	buf_finish(&message);
}

/* The first place of a traceback that is the author's own. */
static bool locate_author(struct slice traceback, struct excerpt *place)
{
	struct slice line;

	while (traceback_next(&traceback, &line))
		if (excerpt_locate(line, place) &&
		    !slice_starts_with(place->file, SLICE("lib/")))
			return true;
	return false;
}

/* What follows "file:line: " of the place; the whole text when it does not begin so. */
static struct slice without_place(struct slice text, const struct excerpt *place)
{
	struct slice rest = text;
	const char *colon;

	if (place->file.at != text.at)
		return text;
	rest.at += place->file.size + 1;
	rest.size -= place->file.size + 1;
	colon = memmem(rest.at, rest.size, ": ", 2);
	if (!colon)
		return text;
	return slice_of(colon + 2, rest.size - (size_t)(colon + 2 - rest.at));
}

void findings_add_fault(struct findings *findings, const char *path,
			const struct fault *why, struct slice traceback)
{
	struct slice text = slice_text(why->detail), file;
	struct excerpt place, author;
	bool located = excerpt_locate(text, &place) && place.file.at == text.at;

	file = located ? place.file : slice_text(path);
	if (located && slice_starts_with(file, SLICE("lib/")) &&
	    locate_author(traceback, &author)) {
		add(findings, author.file, author.line, text, true);
		return;
	}
	/* LuaJIT leaves out the beginning of a long name. */
	if (located && slice_starts_with(file, SLICE("...")))
		file = slice_text(path);
	if (located)
		add(findings, file, place.line, without_place(text, &place), true);
	else if (excerpt_locate(text, &place) &&
		 slice_ends_with(slice_text(path), place.file))
		add(findings, slice_text(path), place.line, text, true);
	else if (locate_author(traceback, &author))
		add(findings, author.file, author.line, text, true);
	else
		add(findings, slice_text(path), 0, text, true);
}

/* --- printing --------------------------------------------------------------------- */

static int slice_order(struct slice a, struct slice b)
{
	int order = memcmp(a.at, b.at, a.size < b.size ? a.size : b.size);

	return order ? order : (a.size > b.size) - (a.size < b.size);
}

static int finding_order(const void *a, const void *b)
{
	const struct finding *left = a, *right = b;
	int order = slice_order(left->path, right->path);

	if (order == 0)
		order = (left->line > right->line) - (left->line < right->line);
	return order ? order : slice_order(left->message, right->message);
}

/* A source may hold anything; a console obeys some of it. */
static void print_line(FILE *out, struct slice line)
{
	line = slice_trim(line);
	if (slice_ends_with(line, SLICE("\r")))
		line.size--;
	if (line.size == 0)
		return;
	fputs("    ", out);
	for (size_t i = 0; i < line.size; i++) {
		unsigned char c = (unsigned char)line.at[i];

		putc(c >= ' ' && c != 0x7f ? c : c == '\t' ? ' ' : '?', out);
	}
	putc('\n', out);
}

static void print_source(FILE *out, struct slice text, unsigned number)
{
	struct slice line;

	for (unsigned i = 1; slice_cut(&text, '\n', &line); i++)
		if (i == number)
			print_line(out, line);
}

void findings_print(struct findings *findings, FILE *out)
{
	struct buf path = { 0 }, text = { 0 };

	if (findings->count)
		qsort(findings->all, findings->count, sizeof(*findings->all),
		      finding_order);
	for (size_t i = 0; i < findings->count; i++) {
		const struct finding *finding = &findings->all[i];

		fprintf(out, "%.*s:", SLICE_PRINT(finding->path));
		if (finding->line)
			fprintf(out, "%u:", finding->line);
		fprintf(out, " %.*s\n", SLICE_PRINT(finding->message));
		buf_reset(&path);
		buf_reset(&text);
		if (finding->path.size && finding->path.at[0] != '/')
			buf_printf(&path, "%.*s/", SLICE_PRINT(findings->root));
		buf_append(&path, finding->path);
		if (finding->line && findings_read(buf_text(&path), &text, NULL))
			print_source(out, buf_slice(&text), finding->line);
	}
	buf_finish(&path);
	buf_finish(&text);
}
