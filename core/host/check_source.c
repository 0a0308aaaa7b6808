/* SPDX-License-Identifier: MIT */
#include "host/check_source.h"

#include "base/arena.h"
#include "base/buf.h"
#include "base/check.h"
#include "host/findings.h"
#include "host/near.h"
#include "script/members.h"
#include "script/mention.h"
#include "script/vm.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define PATH_SIZE 1024

struct note {
	const char *path;
	struct mention mention;
};

struct notes {
	const struct check_sources *check;
	struct arena arena;
	struct note *all;
	size_t count;
	const char *path; /* of the file being read */
};

/* --- notes ------------------------------------------------------------------------ */

static void take_note(void *context, const struct mention *mention)
{
	struct notes *notes = context;
	struct note *note;

	notes->all = mem_resize(notes->all, (notes->count + 1) * sizeof(*notes->all));
	note = &notes->all[notes->count++];
	note->path = notes->path;
	note->mention = *mention;
	note->mention.of = arena_copy(&notes->arena, mention->of);
	note->mention.name = arena_copy(&notes->arena, mention->name);
}

static bool read_notes(struct notes *notes, const char *path)
{
	struct findings *findings = notes->check->findings;
	struct buf text = { 0 };
	struct fault why;
	unsigned line = 0;
	bool well = findings_read(path, &text, &why);

	notes->path = path;
	if (well)
		well = mention_list(buf_slice(&text), take_note, notes, &line, &why);
	if (!well)
		findings_add(findings, path, line, "%s", why.detail);
	buf_finish(&text);
	return well;
}

/* --- names that are there --------------------------------------------------------- */

static void offer(void *context, struct slice name, const char *type)
{
	near_offer(context, name);
}

static void complain(const struct notes *notes, const struct note *note, const char *what,
		     const char *where, const struct near *near)
{
	const char *best = near ? near->best : "";

	findings_add(notes->check->findings, note->path, note->mention.line,
		     "%s '%.*s'%s%s%s%s%s", what, SLICE_PRINT(note->mention.name),
		     *where ? " in " : "", where, *best ? ", did you mean '" : "", best,
		     *best ? "'?" : "");
}

/* Names of other Lua hosts, and what there is instead. */
static const char *instead_of(struct slice name)
{
	static const char *const hints[][2] = {
		{ "dofile", "require" },
		{ "io", "" },
		{ "loadfile", "require" },
		{ "module", "return a table from the file" },
		{ "os", "require \"clock\" has the time" },
		{ "print", "require \"log\"" },
	};

	for (size_t i = 0; i < sizeof(hints) / sizeof(*hints); i++)
		if (slice_equal(name, slice_text(hints[i][0])))
			return hints[i][1];
	return NULL;
}

static void check_global(const struct notes *notes, const struct note *note)
{
	struct slice name = note->mention.name;
	const char *instead = instead_of(name);
	struct near near = near_to(name);

	if (members_has(notes->check->vm, MEMBERS_GLOBALS, name) != MEMBERS_no)
		return;
	if (instead) {
		findings_add(notes->check->findings, note->path, note->mention.line,
			     "scripts have no global '%.*s'%s%s", SLICE_PRINT(name),
			     *instead ? ": " : "", instead);
		return;
	}
	members_each(notes->check->vm, MEMBERS_GLOBALS, offer, &near);
	complain(notes, note, "unknown global", "", &near);
}

static void check_assignment(const struct notes *notes, const struct note *note)
{
	findings_add(notes->check->findings, note->path, note->mention.line,
		     "assignment to the global '%.*s': use local",
		     SLICE_PRINT(note->mention.name));
}

/* --- modules ---------------------------------------------------------------------- */

/* The path of the module's file in the folder; false when there is none. */
static bool module_file(const char *folder, struct slice module, char path[PATH_SIZE])
{
	size_t start;

	if (!folder)
		return false;
	start = (size_t)snprintf(path, PATH_SIZE, "%s/", folder);
	if (start + module.size + sizeof(".lua") > PATH_SIZE)
		return false;
	snprintf(path + start, PATH_SIZE - start, "%.*s.lua", SLICE_PRINT(module));
	for (char *c = path + start; c < path + start + module.size; c++)
		*c = *c == '.' ? '/' : *c;
	return access(path, R_OK) == 0;
}

static void offer_folder(const struct check_sources *check, const char *folder,
			 struct near *near)
{
	struct dirent *entry;
	DIR *dir = folder ? opendir(folder) : NULL;

	while (dir && (entry = readdir(dir))) {
		struct slice name = slice_text(entry->d_name);
		char native[64];

		if (!slice_ends_with(name, SLICE(".lua")))
			continue;
		name.size -= strlen(".lua");
		near_offer(near, name);
		snprintf(native, sizeof(native), "native.%.*s", SLICE_PRINT(name));
		if (slice_starts_with(near->wanted, SLICE("native.")) &&
		    members_load(check->vm, native, NULL))
			near_offer(near, slice_text(native));
	}
	if (dir)
		closedir(dir);
}

static bool is_own(const struct notes *notes, struct slice module)
{
	char path[PATH_SIZE];

	return !module_file(notes->check->lib_dir, module, path) &&
	       module_file(notes->check->service_dir, module, path);
}

static void check_require(const struct notes *notes, const struct note *note)
{
	const struct check_sources *check = notes->check;
	struct slice name = note->mention.name;
	char path[PATH_SIZE];
	struct near near = near_to(name);
	struct fault why;
	bool in_file = module_file(check->lib_dir, name, path) ||
		       module_file(check->service_dir, name, path);

	/* Every service has a module `service`: tests, and lib/test.lua, load one. */
	if (!check->service_dir && slice_equal(name, SLICE("service")))
		return;
	if (members_load(check->vm, name.at, &why))
		return;
	if (in_file) {
		findings_add_fault(check->findings, path, &why, vm_traceback(check->vm));
	} else if (!check->loose) {
		offer_folder(check, check->lib_dir, &near);
		offer_folder(check, check->service_dir, &near);
		complain(notes, note, "unknown module", "", &near);
	}
}

/* Whether any of the files sets this member of the module. */
static bool is_set(const struct notes *notes, const struct mention *wanted)
{
	for (size_t i = 0; i < notes->count; i++) {
		const struct mention *mention = &notes->all[i].mention;

		if (mention->kind == MENTION_set &&
		    slice_equal(mention->of, wanted->of) &&
		    slice_equal(mention->name, wanted->name))
			return true;
	}
	return false;
}

static void check_field(const struct notes *notes, const struct note *note)
{
	const struct mention *mention = &note->mention;
	struct near near = near_to(mention->name);
	struct buf where = { 0 };

	if (members_has(notes->check->vm, mention->of.at, mention->name) != MEMBERS_no ||
	    (is_own(notes, mention->of) && is_set(notes, mention)))
		return;
	members_each(notes->check->vm, mention->of.at, offer, &near);
	buf_printf(&where, "module '%s'", mention->of.at);
	complain(notes, note, "unknown member", buf_text(&where), &near);
	buf_finish(&where);
}

/* string.format: of a table that is a global. */
static void check_member(const struct notes *notes, const struct note *note)
{
	const struct mention *mention = &note->mention;
	struct near near = near_to(mention->name);
	struct buf global = { 0 };

	buf_printf(&global, "%s.%s", MEMBERS_GLOBALS, mention->of.at);
	if (members_has(notes->check->vm, buf_text(&global), mention->name) ==
	    MEMBERS_no) {
		members_each(notes->check->vm, buf_text(&global), offer, &near);
		complain(notes, note, "unknown member", mention->of.at, &near);
	}
	buf_finish(&global);
}

static void check_note(const struct notes *notes, const struct note *note)
{
	switch (note->mention.kind) {
	case MENTION_read:
		check_global(notes, note);
		break;
	case MENTION_write:
		check_assignment(notes, note);
		break;
	case MENTION_require:
		check_require(notes, note);
		break;
	case MENTION_field:
		check_field(notes, note);
		break;
	case MENTION_member:
		check_member(notes, note);
		break;
	case MENTION_set: /* where it is read */
		break;
	}
}

bool check_sources(const struct check_sources *check, char *const *paths, size_t count)
{
	struct notes notes = { .check = check };
	bool well = true;

	for (size_t i = 0; i < count; i++)
		well &= read_notes(&notes, paths[i]);
	for (size_t i = 0; i < notes.count; i++)
		check_note(&notes, &notes.all[i]);
	arena_finish(&notes.arena);
	free(notes.all);
	return well;
}
