/* SPDX-License-Identifier: MIT */
/* test_watch.h -- runs tests again when what they were made from changes.
 *
 *     run all -> wait --a source changed--> run what has read it -> wait
 *
 * What had failed is run as well. Sources are the .lua files below lib/, scripts/ and the
 * tests' own folders. Files of tests that appear are found, for what was asked for is
 * looked up again each time.
 */
#ifndef HOST_TEST_WATCH_H
#define HOST_TEST_WATCH_H

#include "base/fault.h"

/* Until Ctrl-C: gives the status of the last run. EXIT_usage with why: it means no test.
 */
int test_watch(const char *root, const char *filter, char *const *what, size_t count,
	       struct fault *why);

#endif
