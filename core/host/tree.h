/* SPDX-License-Identifier: MIT */
/* tree.h -- the Lua files and folders below the root, as sorted lists of paths. Hidden
 * ones are not looked at.
 */
#ifndef HOST_TREE_H
#define HOST_TREE_H

#include <stdbool.h>
#include <stddef.h>

struct tree_list { /* zeroed: empty */
	char **paths;
	size_t count;
};

/* Copies; twice the same is once. */
void tree_add(struct tree_list *list, const char *path);

/* The .lua files of the folder; deep: and of those in it. A folder that is not there has
 * none. */
void tree_add_files(struct tree_list *list, const char *folder, bool deep);

/* The names, not the paths, of the folders in the folder that hold this file; NULL: of
 * all. */
void tree_add_folders(struct tree_list *list, const char *folder, const char *holding);

void tree_finish(struct tree_list *list);

/* The nearest folder above the file that holds service.lua, below the folder `top`; of a
 * file that is not below it, its own folder only. NULL when there is none; freed with
 * free(). Both are absolute. */
char *tree_service_folder(const char *top, const char *file);

#endif
