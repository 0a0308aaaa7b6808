/* SPDX-License-Identifier: MIT */
/* check_source.h -- what is wrong in Lua files without running their functions: syntax,
 * globals that are not there, modules and members of modules that are not there.
 *
 * What is there is asked of a VM in which the modules are loaded. A module of a service's
 * own also has the members that any of the files sets in it.
 */
#ifndef HOST_CHECK_SOURCE_H
#define HOST_CHECK_SOURCE_H

#include <stdbool.h>
#include <stddef.h>

struct findings;
struct vm;

struct check_sources {
	struct findings *findings;
	struct vm *vm;
	const char *lib_dir;
	const char *service_dir; /* NULL: none */
	bool loose; /* tests: they choose the service's folder when they run */
};

/* The files as one set. Gives whether all of them compile. */
bool check_sources(const struct check_sources *check, char *const *paths, size_t count);

#endif
