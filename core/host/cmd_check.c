/* SPDX-License-Identifier: MIT */
/* cmd_check.c -- orrery check [SERVICE|LAB|FILE...]: what is wrong, before anybody calls.
 *
 * A service is read file by file, also those that nothing requires yet, and then loaded,
 * without stores, as serve would. lib/ and what stands beside the services is read only.
 */
#include "host/command.h"

#include "api/service.h"
#include "base/buf.h"
#include "base/check.h"
#include "host/check_conf.h"
#include "host/check_source.h"
#include "host/dry.h"
#include "host/findings.h"
#include "host/tree.h"
#include "script/mention.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct work {
	struct findings *findings;
	char *root;
	struct tree_list seen; /* every file that was looked at */
};

/* --- files ------------------------------------------------------------------------ */

/* own: the folder of the modules that the files may require beside those of lib/; or
 * NULL. Gives whether they compile. */
static bool check_files(struct work *work, const struct dry *dry, const char *own,
			const struct tree_list *files, bool loose)
{
	struct check_sources check = { .findings = work->findings,
				       .vm = dry->wiring.api.vm,
				       .lib_dir = dry->wiring.lib_dir,
				       .service_dir = own,
				       .loose = loose };

	for (size_t i = 0; i < files->count; i++)
		tree_add(&work->seen, files->paths[i]);
	return check_sources(&check, files->paths, files->count);
}

/* Files that are read and not loaded. */
static bool read_files(struct work *work, enum dry_kind kind, const char *own,
		       const struct tree_list *files)
{
	struct dry dry;
	struct fault why;
	bool well = dry_open(&dry, kind, NULL, &why);

	if (!well) {
		findings_add(work->findings, "settings", 0, "%s", why.detail);
	} else {
		if (own)
			vm_set_service_dir(dry.wiring.api.vm, own);
		well = check_files(work, &dry, own, files,
				   kind == DRY_library && own != NULL);
	}
	dry_close(&dry);
	return well;
}

static char *folder_of(const char *path)
{
	char *folder = mem_copy(path, strlen(path));

	*strrchr(folder, '/') = 0;
	return folder;
}

static bool is_test(const char *path)
{
	return slice_ends_with(slice_text(path), SLICE("_test.lua"));
}

/* A test, or a script for orrery run; both may require what lies beside them. */
static void read_file(struct work *work, const char *path)
{
	struct tree_list files = { 0 };
	char *folder = folder_of(path);

	tree_add(&files, path);
	read_files(work, is_test(path) ? DRY_library : DRY_script, folder, &files);
	tree_finish(&files);
	free(folder);
}

static void read_scripts(struct work *work, const char *folder)
{
	struct tree_list files = { 0 };

	tree_add_files(&files, folder, false);
	if (files.count)
		read_files(work, DRY_script, folder, &files);
	tree_finish(&files);
}

static void read_lib(struct work *work)
{
	struct tree_list files = { 0 };
	char *lib = conf_path(work->root, "lib", NULL, NULL);

	tree_add_files(&files, lib, false);
	read_files(work, DRY_library, NULL, &files);
	tree_finish(&files);
	free(lib);
}

static void note_app(void *context, const struct mention *mention)
{
	bool *is_service = context;

	if (mention->kind == MENTION_require && slice_equal(mention->name, SLICE("app")))
		*is_service = true;
}

/* Outside the tree: what requires "app" is meant for orrery serve. */
static bool looks_like_service(const char *path)
{
	struct buf text = { 0 };
	bool is_service = false;
	unsigned line;

	if (findings_read(path, &text, NULL))
		mention_list(buf_slice(&text), note_app, &is_service, &line, NULL);
	buf_finish(&text);
	return is_service;
}

/* --- services and labs ------------------------------------------------------------ */

static void load_service(struct work *work, struct dry *dry)
{
	struct vm *vm = dry->wiring.api.vm;
	struct fault why;
	struct service *service = service_load(vm, dry->conf.service_file, &why);

	if (!service)
		findings_add_fault(work->findings, dry->conf.service_file, &why,
				   vm_traceback(vm));
	service_destroy(service);
}

/* path: absolute. Other .lua files belong to it when it is called service.lua. */
static void check_service(struct work *work, const char *path)
{
	struct tree_list files = { 0 };
	struct dry dry;
	struct fault why;
	char *folder = folder_of(path);

	if (strcmp(path + strlen(folder), "/service.lua") == 0)
		tree_add_files(&files, folder, true);
	else
		tree_add(&files, path);
	if (dry_open(&dry, DRY_service, path, &why)) {
		if (check_files(work, &dry, folder, &files, false))
			load_service(work, &dry);
		dry_close(&dry);
	} else { /* its settings are wrong: what they are, its lab's file is asked */
		bool told = dry.conf.lab && *dry.conf.lab;

		if (!told)
			findings_add(work->findings, "settings", 0, "%s", why.detail);
		dry_close(&dry);
		read_files(work, DRY_script, folder, &files);
	}
	tree_finish(&files);
	free(folder);
}

static void check_lab_conf(struct work *work, const char *lab)
{
	struct tree_list services = { 0 }, files = { 0 };
	char *folder = conf_path(work->root, "scripts", lab, NULL);
	char path[PATH_MAX];

	snprintf(path, sizeof(path), "%s/conf/%s.lua", work->root, lab);
	if (access(path, R_OK) == 0) {
		tree_add(&files, path);
		tree_add_folders(&services, folder, "service.lua");
		if (read_files(work, DRY_library, NULL, &files))
			check_conf(work->findings, work->root, lab, services.paths,
				   services.count);
	}
	tree_finish(&services);
	tree_finish(&files);
	free(folder);
}

/* lab: "" for the services directly below scripts/. */
static void check_lab(struct work *work, const char *lab)
{
	struct tree_list services = { 0 };
	char *folder = conf_path(work->root, "scripts", *lab ? lab : NULL, NULL);
	char path[PATH_MAX];

	if (*lab)
		check_lab_conf(work, lab);
	read_scripts(work, folder);
	tree_add_folders(&services, folder, "service.lua");
	for (size_t i = 0; i < services.count; i++) {
		snprintf(path, sizeof(path), "%s/%s/service.lua", folder,
			 services.paths[i]);
		check_service(work, path);
	}
	tree_finish(&services);
	free(folder);
}

static void check_everything(struct work *work)
{
	struct tree_list labs = { 0 }, confs = { 0 };
	char *scripts = conf_path(work->root, "scripts", NULL, NULL);
	char *conf = conf_path(work->root, "conf", NULL, NULL);

	read_lib(work);
	tree_add_files(&confs, conf, false);
	for (size_t i = 0; i < confs.count; i++) {
		char *name = strrchr(confs.paths[i], '/') + 1;

		name[strlen(name) - strlen(".lua")] = 0;
		check_lab_conf(work, name);
	}
	check_lab(work, "");
	tree_add_folders(&labs, scripts, NULL);
	for (size_t i = 0; i < labs.count; i++)
		check_lab(work, labs.paths[i]);
	tree_finish(&labs);
	tree_finish(&confs);
	free(scripts);
	free(conf);
}

/* --- arguments -------------------------------------------------------------------- */

/* The lab whose folder this service's is in gets its settings looked at too. */
static void check_service_and_conf(struct work *work, const char *path)
{
	char *scripts = conf_path(work->root, "scripts", NULL, NULL);
	size_t above = strlen(scripts);
	const char *lab = path + above + 1;
	char name[256];

	if (strncmp(path, scripts, above) == 0 && path[above] == '/') {
		snprintf(name, sizeof(name), "%.*s", (int)strcspn(lab, "/"), lab);
		check_lab_conf(work, name);
	}
	check_service(work, path);
	free(scripts);
}

/* The folder of the root that the file is in: "lib"; "" when it is in none. */
static struct slice part_of(const struct work *work, const char *path)
{
	struct slice rest = slice_text(path), part = SLICE("");

	if (!slice_starts_with(rest, slice_text(work->root)) ||
	    path[strlen(work->root)] != '/')
		return part;
	rest.at += strlen(work->root) + 1;
	rest.size -= strlen(work->root) + 1;
	slice_cut(&rest, '/', &part);
	return rest.at ? part : SLICE("");
}

/* path: absolute. */
static void check_path(struct work *work, const char *path)
{
	struct slice part = part_of(work, path);
	char *folder = tree_service_folder(work->root, path);
	const char *name = strrchr(path, '/') + 1;
	struct tree_list files = { 0 };
	char service[PATH_MAX], lab[256];

	if (slice_equal(part, SLICE("conf"))) {
		snprintf(lab, sizeof(lab), "%.*s", (int)(strlen(name) - strlen(".lua")),
			 name);
		check_lab_conf(work, lab);
	} else if (folder) {
		snprintf(service, sizeof(service), "%s/service.lua", folder);
		check_service_and_conf(work, service);
	} else if (slice_equal(part, SLICE("lib"))) {
		tree_add(&files, path);
		read_files(work, DRY_library, NULL, &files);
		tree_finish(&files);
	} else if (slice_equal(part, SLICE("scripts")) || is_test(path) ||
		   !looks_like_service(path)) {
		read_file(work, path);
	} else {
		check_service(work, path);
	}
	free(folder);
}

static bool is_folder_of(const struct work *work, const char *name, const char *file)
{
	char path[PATH_MAX];

	snprintf(path, sizeof(path), "%s/scripts/%s%s", work->root, name, file);
	return access(path, R_OK) == 0;
}

/* False when there is no such thing. */
static bool check_argument(struct work *work, const char *argument)
{
	char path[PATH_MAX], named[PATH_MAX];

	if (slice_ends_with(slice_text(argument), SLICE(".lua"))) {
		if (!realpath(argument, path))
			return false;
		check_path(work, path);
		return true;
	}
	if (!*argument || *argument == '/' || strstr(argument, ".."))
		return false;
	if (is_folder_of(work, argument, "/service.lua")) {
		snprintf(named, sizeof(named), "%s/scripts/%s/service.lua", work->root,
			 argument);
		if (realpath(named, path))
			check_service_and_conf(work, path);
		return true;
	}
	if (strchr(argument, '/') || !is_folder_of(work, argument, ""))
		return false;
	check_lab(work, argument);
	return true;
}

static int report(struct work *work)
{
	size_t count = findings_count(work->findings);

	findings_print(work->findings, stdout);
	if (count)
		printf("%zu finding%s in %zu file%s\n", count, count == 1 ? "" : "s",
		       work->seen.count, work->seen.count == 1 ? "" : "s");
	else
		printf("%zu file%s, nothing found\n", work->seen.count,
		       work->seen.count == 1 ? "" : "s");
	return count ? EXIT_failed : EXIT_well;
}

static int check_arguments(struct work *work, char *const *args, size_t count)
{
	char complaint[512];

	for (size_t i = 0; i < count; i++) {
		if (check_argument(work, args[i]))
			continue;
		snprintf(complaint, sizeof(complaint),
			 "no service, lab or .lua file '%s'", args[i]);
		return command_refuse("check", complaint);
	}
	if (count == 0)
		check_everything(work);
	return report(work);
}

int cmd_check(char *const *args, size_t count)
{
	struct work work = { 0 };
	struct command_arguments given;
	struct fault why;
	int status;

	if (!command_take_arguments("check", args, count, NULL, &given)) {
		command_drop_arguments(&given);
		return EXIT_usage;
	}
	work.root = conf_find_root(given.count ? given.words[0] : NULL, &why);
	if (!work.root) {
		status = command_refuse("check", why.detail);
	} else {
		work.findings = findings_create(work.root);
		status = check_arguments(&work, given.words, given.count);
	}
	findings_destroy(work.findings);
	tree_finish(&work.seen);
	free(work.root);
	command_drop_arguments(&given);
	return status;
}
