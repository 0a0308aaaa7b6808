/* SPDX-License-Identifier: MIT */
/* explain.h -- the names that `orrery explain` knows, by sort.
 *
 * Every sort tells from where the thing itself is defined: the tables (fault.def,
 * chaos.def, metrics.def, conf.def, the commands), and the annotations in lib/.
 */
#ifndef HOST_EXPLAIN_H
#define HOST_EXPLAIN_H

#include "base/slice.h"

#include <stdio.h>

struct lua_doc;

struct explain {
	FILE *out;
	struct explain_docs {
		struct lua_doc **all; /* sorted by name */
		size_t count;
	} modules, natives; /* of lib/ and of lib/native/ */
};

/* One name and a line about it. Borrowed during the call. */
typedef void explain_name_fn(void *context, const char *name, struct slice line);

struct explain_sort {
	const char *title; /* "settings" */
	void (*list)(const struct explain *explain, explain_name_fn *tell, void *context);
	/* Prints what it knows of the name; false: nothing. */
	bool (*tell)(const struct explain *explain, struct slice name);
};

/* explain_table.c */
extern const struct explain_sort explain_settings, explain_faults, explain_points,
	explain_commands;

/* explain_series.c */
extern const struct explain_sort explain_series;

/* explain_module.c */
extern const struct explain_sort explain_modules, explain_natives, explain_functions;

/* Prints text as lines indented by four. */
void explain_print(const struct explain *explain, struct slice text);

#endif
