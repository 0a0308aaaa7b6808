/* SPDX-License-Identifier: MIT */
#include "host/test_select.h"

#include "base/buf.h"
#include "base/check.h"
#include "host/conf.h"

#include <dirent.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define TEST_ENDING SLICE("_test.lua")

static void walk_entry(const char *path, struct slice ending, test_select_fn *each,
		       void *context)
{
	struct stat about, target;

	if (lstat(path, &about) != 0 || stat(path, &target) != 0)
		return;
	if (S_ISDIR(about.st_mode)) /* not a link to one: that may lead in a circle */
		test_select_walk(path, ending, each, context);
	else if (S_ISREG(target.st_mode) && slice_ends_with(slice_text(path), ending))
		each(context, path);
}

void test_select_walk(const char *folder, struct slice ending, test_select_fn *each,
		      void *context)
{
	struct dirent **entries;
	int count = scandir(folder, &entries, NULL, alphasort);

	for (int i = 0; i < count; i++) {
		char *path = conf_path(folder, entries[i]->d_name, NULL, NULL);

		if (entries[i]->d_name[0] != '.')
			walk_entry(path, ending, each, context);
		free(path);
		free(entries[i]);
	}
	if (count >= 0)
		free(entries);
}

static void add(void *context, const char *path)
{
	struct test_selection *selection = context;
	char real[PATH_MAX];

	if (!realpath(path, real))
		return;
	selection->found++;
	for (size_t i = 0; i < selection->count; i++)
		if (strcmp(selection->paths[i], real) == 0)
			return;
	selection->paths =
		mem_resize(selection->paths, (selection->count + 1) * sizeof(char *));
	selection->paths[selection->count++] = mem_copy(real, strlen(real));
}

static bool is_folder(const char *path)
{
	struct stat about;

	return stat(path, &about) == 0 && S_ISDIR(about.st_mode);
}

/* test/services/<last part>_test.lua. */
static void add_service_file(struct test_selection *selection, const char *root,
			     const char *service)
{
	const char *slash = strrchr(service, '/');
	struct buf path = { 0 };

	buf_printf(&path, "%s/test/services/%s_test.lua", root,
		   slash ? slash + 1 : service);
	if (access(buf_text(&path), R_OK) == 0)
		add(selection, path.at);
	buf_finish(&path);
}

/* The folder of a service below root/scripts. */
static bool is_service(const char *root, const char *folder)
{
	char *scripts = conf_path(root, "scripts", "", NULL);
	struct buf file = { 0 };
	char real[PATH_MAX];
	bool yes;

	buf_printf(&file, "%s/service.lua", folder);
	yes = realpath(buf_text(&file), real) &&
	      slice_starts_with(slice_text(real), slice_text(scripts));
	buf_finish(&file);
	free(scripts);
	return yes;
}

static void add_folder(struct test_selection *selection, const char *root,
		       const char *folder)
{
	char real[PATH_MAX];

	if (is_service(root, folder) && realpath(folder, real))
		add_service_file(selection, root, real);
	test_select_walk(folder, TEST_ENDING, add, selection);
}

bool test_select(struct test_selection *selection, const char *root, const char *what,
		 struct fault *why)
{
	char *service = conf_path(root, "scripts", what, NULL);
	bool known = true;

	selection->found = 0;
	if (is_folder(what))
		add_folder(selection, root, what);
	else if (access(what, F_OK) == 0)
		add(selection, what);
	else if (is_service(root, service))
		add_folder(selection, root, service);
	else
		known = fault_set(why, FAULT_missing,
				  "%s: no file, folder or service of that name", what);
	free(service);
	if (known && !selection->found)
		return fault_set(why, FAULT_missing, "%s: no *_test.lua there", what);
	return known;
}

void test_selection_finish(struct test_selection *selection)
{
	for (size_t i = 0; i < selection->count; i++)
		free(selection->paths[i]);
	free(selection->paths);
	*selection = (struct test_selection){ 0 };
}
