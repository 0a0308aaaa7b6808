/* SPDX-License-Identifier: MIT */
#include "host/explain.h"

#include "host/lua_doc.h"

#define NATIVE "native."

static struct slice first_sentence(struct slice text)
{
	size_t size = 0;

	while (size < text.size &&
	       !(text.at[size] == '.' &&
		 (size + 1 == text.size || strchr(" \n", text.at[size + 1]))))
		size++;
	return slice_of(text.at, size < text.size ? size + 1 : size);
}

/* --- modules ---------------------------------------------------------------------- */

static void print_entry(const struct explain *explain, const char *before,
			const struct lua_doc_entry *entry)
{
	if (entry->signature.size)
		fprintf(explain->out, "%s%.*s\n", before, SLICE_PRINT(entry->signature));
	explain_print(explain, entry->notes);
}

static void list_docs(const struct explain_docs *docs, explain_name_fn *tell,
		      void *context)
{
	for (size_t i = 0; i < docs->count; i++)
		tell(context, lua_doc_module(docs->all[i]),
		     first_sentence(lua_doc_head(docs->all[i])));
}

static const struct lua_doc *find_doc(const struct explain_docs *docs, struct slice name)
{
	for (size_t i = 0; i < docs->count; i++)
		if (slice_equal(name, slice_text(lua_doc_module(docs->all[i]))))
			return docs->all[i];
	return NULL;
}

static void print_entries(const struct explain *explain, const struct lua_doc *doc)
{
	const struct lua_doc_entry *entry;

	explain_print(explain, lua_doc_head(doc));
	for (size_t i = 0; (entry = lua_doc_at(doc, i)); i++) {
		putc('\n', explain->out);
		print_entry(explain, "", entry);
	}
}

static void list_modules(const struct explain *explain, explain_name_fn *tell,
			 void *context)
{
	list_docs(&explain->modules, tell, context);
}

/* "json", "lib/json" or "lib/json.lua" */
static bool tell_module(const struct explain *explain, struct slice name)
{
	const struct lua_doc *doc;

	if (slice_starts_with(name, SLICE("lib/")))
		name = slice_of(name.at + 4, name.size - 4);
	if (slice_ends_with(name, SLICE(".lua")))
		name.size -= 4;
	doc = find_doc(&explain->modules, name);
	if (!doc)
		return false;
	fprintf(explain->out, "%s  (module: lib/%s.lua)\n", lua_doc_module(doc),
		lua_doc_module(doc));
	print_entries(explain, doc);
	return true;
}

const struct explain_sort explain_modules = { "modules of lib/", list_modules,
					      tell_module };

/* --- functions of them ------------------------------------------------------------ */

static void list_functions(const struct explain *explain, explain_name_fn *tell,
			   void *context)
{
	for (size_t i = 0; i < explain->modules.count; i++) {
		const struct lua_doc *doc = explain->modules.all[i];
		const struct lua_doc_entry *entry;

		for (size_t k = 0; (entry = lua_doc_at(doc, k)); k++)
			if (memchr(entry->name.at, '.', entry->name.size))
				tell(context, entry->name.at,
				     first_sentence(entry->notes.size
							    ? entry->notes
							    : entry->signature));
	}
}

/* "tx:query" and "tx.query" are the same to whoever asks. */
static bool same_name(struct slice a, struct slice b)
{
	if (a.size != b.size)
		return false;
	for (size_t i = 0; i < a.size; i++)
		if (a.at[i] != b.at[i] &&
		    !(strchr(".:", a.at[i]) && strchr(".:", b.at[i])))
			return false;
	return true;
}

static bool tell_function(const struct explain *explain, struct slice name)
{
	bool known = false;

	for (size_t i = 0; i < explain->modules.count; i++) {
		const struct lua_doc *doc = explain->modules.all[i];
		const struct lua_doc_entry *entry;

		for (size_t k = 0; (entry = lua_doc_at(doc, k)); k++) {
			if (!entry->name.size || !same_name(entry->name, name))
				continue;
			if (known)
				putc('\n', explain->out);
			print_entry(explain, "", entry);
			fprintf(explain->out, "    in lib/%s.lua\n", lua_doc_module(doc));
			known = true;
		}
	}
	return known;
}

const struct explain_sort explain_functions = { "functions", list_functions,
						tell_function };

/* --- native modules --------------------------------------------------------------- */

static void list_natives(const struct explain *explain, explain_name_fn *tell,
			 void *context)
{
	list_docs(&explain->natives, tell, context);
}

static bool uses(const struct lua_doc *doc, struct slice native)
{
	struct slice name;

	for (size_t k = 0; lua_doc_native(doc, k, &name); k++)
		if (slice_equal(name, native))
			return true;
	return false;
}

/* "used by lib/db.lua, lib/outbox.lua"; native: "db" */
static void print_users(const struct explain *explain, struct slice native)
{
	const char *before = "used by ";

	for (size_t i = 0; i < explain->modules.count; i++) {
		if (!uses(explain->modules.all[i], native))
			continue;
		fprintf(explain->out, "%slib/%s.lua", before,
			lua_doc_module(explain->modules.all[i]));
		before = ", ";
	}
}

/* The functions of lib/ that are this one; member: "query" */
static void print_offers(const struct explain *explain, struct slice native,
			 struct slice member)
{
	for (size_t i = 0; i < explain->modules.count; i++) {
		const struct lua_doc *doc = explain->modules.all[i];
		const struct lua_doc_entry *entry;

		for (size_t k = 0; uses(doc, native) && (entry = lua_doc_at(doc, k)); k++)
			if (slice_equal(entry->native, member))
				fprintf(explain->out,
					"    for services: %.*s, in lib/%s.lua\n",
					SLICE_PRINT(entry->name), lua_doc_module(doc));
	}
}

/* rest: "db.query" */
static bool tell_native_function(const struct explain *explain, const struct lua_doc *doc,
				 struct slice rest)
{
	const struct lua_doc_entry *entry;
	struct slice native;

	for (size_t k = 0; (entry = lua_doc_at(doc, k)); k++) {
		if (!entry->name.size || !same_name(entry->name, rest))
			continue;
		print_entry(explain, NATIVE, entry);
		slice_cut(&rest, '.', &native);
		print_offers(explain, native, rest);
		return true;
	}
	return false;
}

/* "native.db" or "native.db.query" */
static bool tell_native(const struct explain *explain, struct slice name)
{
	const struct lua_doc *doc = find_doc(&explain->natives, name);
	struct slice rest = name, native, module;

	if (!slice_starts_with(name, SLICE(NATIVE)))
		return false;
	rest = slice_of(name.at + strlen(NATIVE), name.size - strlen(NATIVE));
	if (doc) {
		fprintf(explain->out, "%s  (native module: in C; ", lua_doc_module(doc));
		print_users(explain, rest);
		fprintf(explain->out, ")\n");
		print_entries(explain, doc);
		return true;
	}
	module = rest;
	slice_cut(&module, '.', &native);
	module = slice_of(name.at, (size_t)(native.at + native.size - name.at));
	doc = find_doc(&explain->natives, module);
	return doc && tell_native_function(explain, doc, rest);
}

const struct explain_sort explain_natives = { "native modules", list_natives,
					      tell_native };
