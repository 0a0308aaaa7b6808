/* SPDX-License-Identifier: MIT */
/* command_test.c -- the table of commands, and the arguments that tools share. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "host/command.h"

#include <stdlib.h>
#include <string.h>

static void every_command_tells_all_about_itself_and_they_are_sorted(void **state)
{
	const char *before = "";

	for (const struct command *command = commands; command->name; command++) {
		assert_true(strcmp(before, command->name) < 0);
		assert_ptr_equal(command_of(command->name), command);
		assert_in_range(strlen(command->summary), 1, 60);
		assert_true(command->arguments && command->details && command->failed);
		assert_memory_equal(command->example, "orrery ", 7);
		assert_memory_equal(command->example + 7, command->name,
				    strlen(command->name));
		assert_non_null(command->run);
		before = command->name;
	}
	assert_null(command_of("nothing"));
}

static void words_the_flag_and_the_root_are_told_apart(void **state)
{
	char *args[] = { "a", "--json", "--root", "/r", "b" };
	char *joined[] = { "--root=/other" };
	struct command_arguments taken;

	unsetenv("ORRERY_ROOT");
	assert_true(command_take_arguments("x", args, 5, "--json", &taken));
	assert_int_equal(taken.count, 2);
	assert_string_equal(taken.words[1], "b");
	assert_true(taken.flag);
	assert_string_equal(getenv("ORRERY_ROOT"), "/r");
	command_drop_arguments(&taken);

	assert_true(command_take_arguments("x", joined, 1, NULL, &taken));
	assert_int_equal(taken.count, 0);
	assert_string_equal(getenv("ORRERY_ROOT"), "/other");
	command_drop_arguments(&taken);
}

static void an_option_that_nobody_knows_is_refused(void **state)
{
	char *args[] = { "a", "--json" };
	char *open[] = { "--root" };
	struct command_arguments taken;

	assert_false(command_take_arguments("x", args, 2, NULL, &taken));
	command_drop_arguments(&taken);
	assert_false(command_take_arguments("x", open, 1, NULL, &taken));
	command_drop_arguments(&taken);
}

int main(void)
{
	const struct CMUnitTest claims[] = {
		cmocka_unit_test(
			every_command_tells_all_about_itself_and_they_are_sorted),
		cmocka_unit_test(words_the_flag_and_the_root_are_told_apart),
		cmocka_unit_test(an_option_that_nobody_knows_is_refused),
	};

	return cmocka_run_group_tests(claims, NULL, NULL);
}
