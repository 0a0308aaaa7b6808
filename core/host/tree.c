/* SPDX-License-Identifier: MIT */
#include "host/tree.h"

#include "base/check.h"
#include "base/slice.h"

#include <dirent.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define DEPTH_MAX 8

void tree_add(struct tree_list *list, const char *path)
{
	for (size_t i = 0; i < list->count; i++)
		if (strcmp(list->paths[i], path) == 0)
			return;
	list->paths = mem_resize(list->paths, (list->count + 1) * sizeof(*list->paths));
	list->paths[list->count++] = mem_copy(path, strlen(path));
}

static bool is_folder(const char *path)
{
	struct stat info;

	return stat(path, &info) == 0 && S_ISDIR(info.st_mode);
}

static int not_hidden(const struct dirent *entry)
{
	return entry->d_name[0] != '.';
}

/* The names in the folder, sorted. */
static void read_names(struct tree_list *names, const char *folder)
{
	struct dirent **entries;
	int count = scandir(folder, &entries, not_hidden, alphasort);

	if (count < 0)
		return;
	for (int i = 0; i < count; i++) {
		tree_add(names, entries[i]->d_name);
		free(entries[i]);
	}
	free(entries);
}

static bool join(char path[PATH_MAX], const char *folder, const char *name)
{
	int size = snprintf(path, PATH_MAX, "%s/%s", folder, name);

	return size > 0 && size < PATH_MAX;
}

static void add_files(struct tree_list *list, const char *folder, int depth)
{
	struct tree_list names = { 0 };
	char path[PATH_MAX];

	read_names(&names, folder);
	for (size_t i = 0; i < names.count; i++) {
		if (!join(path, folder, names.paths[i]))
			continue;
		if (!is_folder(path)) {
			if (slice_ends_with(slice_text(path), SLICE(".lua")))
				tree_add(list, path);
		} else if (depth > 1) {
			add_files(list, path, depth - 1);
		}
	}
	tree_finish(&names);
}

void tree_add_files(struct tree_list *list, const char *folder, bool deep)
{
	add_files(list, folder, deep ? DEPTH_MAX : 1);
}

static bool holds(const char *folder, const char *file)
{
	char path[PATH_MAX];

	return join(path, folder, file) && access(path, R_OK) == 0;
}

void tree_add_folders(struct tree_list *list, const char *folder, const char *holding)
{
	struct tree_list names = { 0 };
	char path[PATH_MAX];

	read_names(&names, folder);
	for (size_t i = 0; i < names.count; i++)
		if (join(path, folder, names.paths[i]) && is_folder(path) &&
		    (!holding || holds(path, holding)))
			tree_add(list, names.paths[i]);
	tree_finish(&names);
}

void tree_finish(struct tree_list *list)
{
	for (size_t i = 0; i < list->count; i++)
		free(list->paths[i]);
	free(list->paths);
	*list = (struct tree_list){ 0 };
}

char *tree_service_folder(const char *top, const char *file)
{
	char *path = mem_copy(file, strlen(file));
	size_t above = strlen(top);
	bool below = strncmp(path, top, above) == 0 && path[above] == '/';
	char *slash;

	while ((slash = strrchr(path, '/')) && slash > path) {
		*slash = 0;
		if (below && strlen(path) <= above)
			break;
		if (holds(path, "service.lua"))
			return path;
		if (!below)
			break;
	}
	free(path);
	return NULL;
}
