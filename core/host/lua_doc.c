/* SPDX-License-Identifier: MIT */
#include "host/lua_doc.h"

#include "base/arena.h"
#include "base/buf.h"
#include "base/check.h"
#include "host/findings.h"

#include <ctype.h>
#include <stdlib.h>

#define NATIVES_MAX 8

struct lua_doc {
	struct arena arena;
	const char *module;
	struct slice head;
	struct slice natives[NATIVES_MAX];
	size_t native_count;
	struct lua_doc_entry *entries;
	size_t count;
};

struct reader {
	struct lua_doc *doc;
	struct buf notes; /* of the annotations that wait for what they are about */
	struct slice type; /* of ---@type: what stands behind "fun" */
	struct slice class; /* of ---@class */
};

/* --- annotations ------------------------------------------------------------------ */

static bool take(struct slice *line, const char *start)
{
	struct slice prefix = slice_text(start);

	if (!slice_starts_with(*line, prefix))
		return false;
	*line = slice_trim(slice_of(line->at + prefix.size, line->size - prefix.size));
	return true;
}

static void read_annotation(struct reader *reader, struct slice line)
{
	struct arena *arena = &reader->doc->arena;

	take(&line, "---");
	if (take(&line, "@type fun"))
		reader->type = arena_copy(arena, line);
	else if (take(&line, "@class "))
		reader->class = arena_copy(arena, line);
	else if (take(&line, "@param ") || take(&line, "@field "))
		buf_printf(&reader->notes, "  %.*s\n", SLICE_PRINT(line));
	else if (take(&line, "@return "))
		buf_printf(&reader->notes, "  gives %.*s\n", SLICE_PRINT(line));
	else
		buf_printf(&reader->notes, "%.*s\n", SLICE_PRINT(line));
}

static void forget(struct reader *reader)
{
	buf_reset(&reader->notes);
	reader->type = reader->class = (struct slice){ 0 };
}

/* --- what they are about ---------------------------------------------------------- */

static void add(struct reader *reader, struct slice name, struct slice behind,
		struct slice native)
{
	struct lua_doc *doc = reader->doc;
	struct buf signature = { 0 };

	buf_printf(&signature, "%.*s%.*s", SLICE_PRINT(name), SLICE_PRINT(behind));
	doc->entries = mem_resize(doc->entries, (doc->count + 1) * sizeof(*doc->entries));
	doc->entries[doc->count++] = (struct lua_doc_entry){
		.name = arena_copy(&doc->arena, name),
		.signature = arena_copy(&doc->arena, buf_slice(&signature)),
		.notes = arena_copy(&doc->arena, buf_slice(&reader->notes)),
		.native = arena_copy(&doc->arena, native),
	};
	buf_finish(&signature);
	forget(reader);
}

static size_t name_size(struct slice text)
{
	size_t size = 0;

	while (size < text.size &&
	       (isalnum((unsigned char)text.at[size]) || strchr("_.:", text.at[size])))
		size++;
	return size;
}

/* "function json.encode(value)" */
static bool read_function(struct reader *reader, struct slice line)
{
	struct slice name, rest = line;
	const char *end;

	if (!take(&rest, "function "))
		return false;
	name = slice_of(rest.at, name_size(rest));
	end = memchr(rest.at, ')', rest.size);
	if (!end)
		return false;
	add(reader, name,
	    slice_of(name.at + name.size, (size_t)(end + 1 - name.at) - name.size),
	    SLICE(""));
	return true;
}

/* "json.encode = native.encode", and whatever else is set in the module's table. */
static bool read_member(struct reader *reader, struct slice line)
{
	struct slice name = slice_of(line.at, name_size(line)), rest, native = SLICE("");

	if (!memchr(name.at, '.', name.size) || (!reader->type.at && !reader->notes.size))
		return false;
	rest = slice_trim(slice_of(line.at + name.size, line.size - name.size));
	if (!take(&rest, "="))
		return false;
	if (take(&rest, "native."))
		native = slice_of(rest.at, name_size(rest));
	add(reader, name, reader->type.at ? reader->type : SLICE(""), native);
	return true;
}

/* require "native.db" */
static void read_natives(struct lua_doc *doc, struct slice line)
{
	static const char wanted[] = "require \"native.";
	const char *at =
		line.size ? memmem(line.at, line.size, wanted, strlen(wanted)) : NULL;
	struct slice rest;

	if (!at || doc->native_count == NATIVES_MAX)
		return;
	at += strlen(wanted);
	rest = slice_of(at, line.size - (size_t)(at - line.at));
	doc->natives[doc->native_count++] =
		arena_copy(&doc->arena, slice_of(rest.at, name_size(rest)));
}

static void read_code(struct reader *reader, struct slice line)
{
	read_natives(reader->doc, line);
	if (read_function(reader, line) || read_member(reader, line))
		return;
	if (reader->class.at)
		add(reader, reader->class, SLICE(""), SLICE(""));
	else if (reader->notes.size)
		add(reader, SLICE(""), SLICE(""), SLICE(""));
	forget(reader);
}

/* --- the file --------------------------------------------------------------------- */

static void read_head(struct lua_doc *doc, struct slice *text)
{
	struct buf head = { 0 };
	struct slice line;

	if (slice_starts_with(*text, SLICE("---@meta")))
		slice_cut(text, '\n', &line);
	while (slice_starts_with(*text, SLICE("--")) &&
	       !slice_starts_with(*text, SLICE("---"))) {
		slice_cut(text, '\n', &line);
		line = slice_of(line.at + 2, line.size - 2);
		if (slice_starts_with(line, SLICE(" ")))
			line = slice_of(line.at + 1, line.size - 1);
		buf_printf(&head, "%.*s\n", SLICE_PRINT(line));
	}
	doc->head = arena_copy(&doc->arena, buf_slice(&head));
	buf_finish(&head);
}

struct lua_doc *lua_doc_read(const char *path, struct slice module)
{
	struct lua_doc *doc;
	struct reader reader = { 0 };
	struct buf text = { 0 };
	struct slice rest, line;

	if (!findings_read(path, &text, NULL)) {
		buf_finish(&text);
		return NULL;
	}
	doc = mem_zeroed(1, sizeof(*doc));
	doc->module = arena_copy(&doc->arena, module).at;
	rest = buf_slice(&text);
	reader.doc = doc;
	read_head(doc, &rest);
	while (slice_cut(&rest, '\n', &line)) {
		line = slice_trim(line);
		if (slice_starts_with(line, SLICE("---")))
			read_annotation(&reader, line);
		else
			read_code(&reader, line);
	}
	buf_finish(&reader.notes);
	buf_finish(&text);
	return doc;
}

void lua_doc_destroy(struct lua_doc *doc)
{
	if (!doc)
		return;
	arena_finish(&doc->arena);
	free(doc->entries);
	free(doc);
}

const char *lua_doc_module(const struct lua_doc *doc)
{
	return doc->module;
}

struct slice lua_doc_head(const struct lua_doc *doc)
{
	return doc->head;
}

bool lua_doc_native(const struct lua_doc *doc, size_t index, struct slice *native)
{
	if (index >= doc->native_count)
		return false;
	*native = doc->natives[index];
	return true;
}

const struct lua_doc_entry *lua_doc_at(const struct lua_doc *doc, size_t index)
{
	return index < doc->count ? &doc->entries[index] : NULL;
}
