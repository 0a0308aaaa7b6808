/* SPDX-License-Identifier: MIT */
/* test_file.h -- the tests of one Lua file, one after the other.
 *
 * The file has a process of its own, with fresh settings, pools, VM, metrics and logs: a
 * crash is one failed test, and whatever a test leaves behind is gone.
 */
#ifndef HOST_TEST_FILE_H
#define HOST_TEST_FILE_H

#include <stdbool.h>

#define TEST_TIMEOUT_MS 20000 /* of one test, waits included */
#define TEST_CPU_MS 10000 /* without waiting, unless the environment says otherwise */

struct test_file {
	const char *root; /* the folder that holds lib/ */
	const char *path; /* absolute */
	const char *filter; /* only tests whose name has this text in it; NULL: all */
	int first; /* number of the first result */
};

struct test_outcome {
	int run; /* results printed */
	int failed;
	char *loaded; /* sources that were read, an absolute path a line; to be freed */
};

/* Prints a TAP line for each test; a file that does not load is one failed test. */
void test_file_run(const struct test_file *file, struct test_outcome *outcome);

/* Prints the plan and the sums. Gives the exit status; no test at all is a failure. */
int test_file_summary(int total, int failed);

/* The path below the root where it is there, for people. Borrows path. */
const char *test_file_name(const char *root, const char *path);

#endif
