/* SPDX-License-Identifier: MIT */
/* check_test.c -- a bug ends the process and says where. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/check.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static void a_failed_check_says_where_and_aborts(void **state)
{
	int ends[2], status;
	char line[256];
	ssize_t size;
	pid_t child;

	assert_int_equal(pipe(ends), 0);
	fflush(NULL);
	child = fork();
	assert_true(child >= 0);
	if (child == 0) {
		signal(SIGABRT, SIG_DFL);
		dup2(ends[1], STDERR_FILENO);
		check(1 + 1 == 3);
		_exit(0);
	}
	close(ends[1]);
	size = read(ends[0], line, sizeof(line) - 1);
	assert_true(size > 0);
	line[size] = '\0';
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFSIGNALED(status));
	assert_int_equal(WTERMSIG(status), SIGABRT);
	assert_non_null(strstr(line, "check failed: 1 + 1 == 3 ("));
	assert_non_null(strstr(line, "check_test.c:"));
	close(ends[0]);
}

static void memory_is_zeroed_grown_and_copied(void **state)
{
	unsigned char *zeroed = mem_zeroed(10, 10);
	char *copy = mem_copy("abc", 2);

	for (int i = 0; i < 100; i++)
		assert_int_equal(zeroed[i], 0);
	assert_string_equal(copy, "ab");
	copy = mem_resize(copy, 1000);
	assert_memory_equal(copy, "ab", 2);
	free(copy);
	free(zeroed);
	copy = mem_copy(NULL, 0);
	assert_string_equal(copy, "");
	free(copy);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_failed_check_says_where_and_aborts),
		cmocka_unit_test(memory_is_zeroed_grown_and_copied),
	};

	return cmocka_run_group_tests_name("check", tests, NULL, NULL);
}
