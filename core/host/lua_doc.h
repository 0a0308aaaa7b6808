/* SPDX-License-Identifier: MIT */
/* lua_doc.h -- what a module of lib/ says about itself: the comment at its head, and the
 * annotated functions, as they stand in the file. lib/native/ has such files of what is
 * written in C.
 */
#ifndef HOST_LUA_DOC_H
#define HOST_LUA_DOC_H

#include "base/slice.h"

struct lua_doc;

struct lua_doc_entry {
	struct slice name; /* "json.encode", "tx:query"; a class: "request" */
	struct slice signature; /* "json.encode(value: any): string" */
	struct slice notes; /* lines: what it does, parameters, results, fields */
	struct slice native; /* "encode" when it is that function of a native module */
};

/* module: "json" or "native.json", whose file is at path. NULL when the file cannot be
 * read. */
struct lua_doc *lua_doc_read(const char *path, struct slice module);
void lua_doc_destroy(struct lua_doc *doc); /* NULL is allowed */

/* All borrowed for the life of the doc. */
const char *lua_doc_module(const struct lua_doc *doc);
struct slice lua_doc_head(const struct lua_doc *doc); /* lines, without dashes */

/* "db" when the file requires native.db; at index: there may be several. */
bool lua_doc_native(const struct lua_doc *doc, size_t index, struct slice *native);

/* In the order of the file; NULL at the end. */
const struct lua_doc_entry *lua_doc_at(const struct lua_doc *doc, size_t index);

#endif
