/* SPDX-License-Identifier: MIT */
/* conf_lines_test.c -- where keys are written. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/random.h"
#include "host/conf_lines.h"

static unsigned line(const char *text, const char *key)
{
	struct conf_lines *lines = conf_lines_read(slice_text(text));
	unsigned found = conf_lines_of(lines, key);

	conf_lines_destroy(lines);
	return found;
}

static void a_key_is_called_by_the_keys_around_it(void **state)
{
	const char *text = "return {\n"
			   "  defaults = { port = 1,\n"
			   "    host = 'x' },\n"
			   "  services = {\n"
			   "    a = { port = 2 }, ['b'] = {\n"
			   "      port = 3, options = { port = 4 } } }\n"
			   "}\n";

	assert_int_equal(line(text, "defaults"), 2);
	assert_int_equal(line(text, "defaults.host"), 3);
	assert_int_equal(line(text, "services.a.port"), 5);
	assert_int_equal(line(text, "services.b"), 5);
	assert_int_equal(line(text, "services.b.port"), 6);
	assert_int_equal(line(text, "services.b.options.port"), 6);
	assert_int_equal(line(text, "port"), 0);
	assert_int_equal(line(text, "services.c"), 0);
}

static void comments_and_texts_hold_no_keys(void **state)
{
	const char *text = "-- return { a = 1 }\n"
			   "--[==[ return {\n"
			   " a = 1 ]] } ]==] return { b = [[\n"
			   " c = { d = 1 } ]], e = '} f = \\' ',\n"
			   " -- g = 1\n"
			   " h = \"\\\"{ i = 1\" }\n";

	assert_int_equal(line(text, "b"), 3);
	assert_int_equal(line(text, "e"), 4);
	assert_int_equal(line(text, "h"), 6);
	for (const char *name = "acdfgi"; *name; name++) {
		char key[2] = { *name };

		assert_int_equal(line(text, key), 0);
	}
}

static void only_what_is_returned_counts(void **state)
{
	const char *text =
		"local x = { port = 1 }\n"
		"x.port = 2\n"
		"local y = x == { host = 1 }\n"
		"return { defaults = { { port = 3 }, x[1] == 2, workers = 4 } }";

	assert_int_equal(line(text, "port"), 0);
	assert_int_equal(line(text, "host"), 0);
	assert_int_equal(line(text, "defaults.port"), 0);
	assert_int_equal(line(text, "defaults.workers"), 4);
}

static void of_a_key_that_is_written_twice_the_last_counts(void **state)
{
	assert_int_equal(line("return { a = 1,\na = 2 }", "a"), 2);
}

static void no_text_is_too_odd(void **state)
{
	static const char signs[] = "{}[]=='\"\\-\n ,a.b return";
	struct random random;

	random_init(&random, 7);
	assert_int_equal(line("", "a"), 0);
	for (int i = 0; i < 20000; i++) {
		char text[64];
		size_t size = random_below(&random, sizeof(text));

		for (size_t k = 0; k < size; k++)
			text[k] = signs[random_below(&random, sizeof(signs) - 1)];
		conf_lines_destroy(conf_lines_read(slice_of(text, size)));
	}
}

int main(void)
{
	const struct CMUnitTest claims[] = {
		cmocka_unit_test(a_key_is_called_by_the_keys_around_it),
		cmocka_unit_test(comments_and_texts_hold_no_keys),
		cmocka_unit_test(only_what_is_returned_counts),
		cmocka_unit_test(of_a_key_that_is_written_twice_the_last_counts),
		cmocka_unit_test(no_text_is_too_odd),
	};

	return cmocka_run_group_tests(claims, NULL, NULL);
}
