/* SPDX-License-Identifier: MIT */
/* test_file.h -- the tests of one Lua file, one after the other on a worker's wiring. */
#ifndef HOST_TEST_FILE_H
#define HOST_TEST_FILE_H

#include "base/fault.h"

struct wiring;

#define TEST_TIMEOUT_MS 20000

/* Provides native.test. */
bool test_file_open(struct wiring *wiring, struct fault *why);

/* Prints a TAP line for each test, numbered on from *total. Gives how many failed; a file
 * that does not load is one. */
int test_file_run(struct wiring *wiring, const char *path, int *total);

#endif
