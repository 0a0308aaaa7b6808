/* SPDX-License-Identifier: MIT */
/* test_cases.h -- the array {name = text, fn = function} that a test file returns. */
#ifndef API_TEST_CASES_H
#define API_TEST_CASES_H

#include "api/attempt.h"

struct test_cases;
struct vm;

/* Runs the file, under the VM's budgets. NULL with why, and vm_traceback, when it cannot,
 * or returns something else. */
struct test_cases *test_cases_load(struct vm *vm, const char *path, struct fault *why);

/* NULL is allowed. */
void test_cases_destroy(struct test_cases *cases);

size_t test_cases_count(const struct test_cases *cases);
struct slice test_cases_name(const struct test_cases *cases, size_t index);

/* Starts the test as a task; one at a time. */
void test_cases_start(struct test_cases *cases, size_t index, struct mono deadline,
		      attempt_ended_fn *ended, void *context);

#endif
