/* SPDX-License-Identifier: MIT */
/* test_select.h -- from what somebody asks for to files of tests.
 *
 *     FILE      that file
 *     FOLDER    the *_test.lua in it, and in the folders in it
 *     LAB/NAME  a service: test/services/NAME_test.lua and the *_test.lua in
 *               scripts/LAB/NAME; so does the service's folder
 */
#ifndef HOST_TEST_SELECT_H
#define HOST_TEST_SELECT_H

#include "base/fault.h"

struct test_selection {
	char **paths; /* absolute, each once, in the order of what was asked for */
	size_t count;
	size_t found; /* by the last argument, those already there too */
};

/* Adds what one argument means. False: it means no test. */
bool test_select(struct test_selection *selection, const char *root, const char *what,
		 struct fault *why);
void test_selection_finish(struct test_selection *selection);

/* Calls each for every file below the folder whose name ends so, sorted; hidden ones are
 * left out, and nothing is said about a folder that is not there. path is borrowed during
 * the call. */
typedef void test_select_fn(void *context, const char *path);
void test_select_walk(const char *folder, struct slice ending, test_select_fn *each,
		      void *context);

#endif
