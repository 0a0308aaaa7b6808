/* SPDX-License-Identifier: MIT */
/* cmd_test.c -- orrery test [--watch] [--filter TEXT] FILE|FOLDER|LAB/SERVICE...: Lua
 * tests as tasks, without a socket.
 *
 * A file returns an array of {name = text, fn = function}; its tests run one after the
 * other, and may wait. Output is TAP; the status is 1 when any failed. Stores are those
 * of the environment (ORRERY_POSTGRES_URL ...), needed only where a test uses them.
 */
#include "host/command.h"

#include "host/conf.h"
#include "host/test_file.h"
#include "host/test_select.h"
#include "host/test_watch.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct options {
	bool watch;
	const char *filter; /* NULL: none */
	char *const *what;
	size_t count;
};

/* "--name VALUE" or "--name=VALUE" at args[*i]; *i moves on to the value. NULL: it is
 * something else, or the value is missing. */
static const char *option_value(char *const *args, size_t count, size_t *i,
				const char *name)
{
	size_t size = strlen(name);

	if (strncmp(args[*i], name, size) != 0)
		return NULL;
	if (args[*i][size] == '=')
		return args[*i] + size + 1;
	if (args[*i][size] || *i + 1 == count)
		return NULL;
	return args[++*i];
}

static bool read_options(struct options *options, char *const *args, size_t count,
			 struct fault *why)
{
	size_t i;

	for (i = 0; i < count && args[i][0] == '-'; i++) {
		const char *filter = option_value(args, count, &i, "--filter");

		if (filter)
			options->filter = filter;
		else if (strcmp(args[i], "--watch") == 0)
			options->watch = true;
		else
			return fault_set(why, FAULT_bad_input,
					 "%s: not an option, or without its value",
					 args[i]);
	}
	options->what = args + i;
	options->count = count - i;
	if (options->count == 0)
		return fault_set(why, FAULT_bad_input,
				 "which files, folders or services?");
	return true;
}

static int run_once(const struct test_selection *selection, const char *root,
		    const char *filter)
{
	int total = 0, failed = 0;

	for (size_t i = 0; i < selection->count; i++) {
		struct test_file file = { root, selection->paths[i], filter, total + 1 };
		struct test_outcome outcome;

		test_file_run(&file, &outcome);
		total += outcome.run;
		failed += outcome.failed;
		free(outcome.loaded);
	}
	return test_file_summary(total, failed);
}

static int run_selected(const struct options *options, const char *root,
			struct fault *why)
{
	struct test_selection selection = { 0 };
	int status = EXIT_usage;
	bool known = true;

	if (options->watch)
		return test_watch(root, options->filter, options->what, options->count,
				  why);
	for (size_t i = 0; known && i < options->count; i++)
		known = test_select(&selection, root, options->what[i], why);
	if (known)
		status = run_once(&selection, root, options->filter);
	test_selection_finish(&selection);
	return status;
}

int cmd_test(char *const *args, size_t count)
{
	struct options options = { 0 };
	struct fault why = { 0 };
	int status = EXIT_usage;
	char *root = NULL;

	if (read_options(&options, args, count, &why))
		root = conf_find_root(options.what[0], &why);
	if (root)
		status = run_selected(&options, root, &why);
	free(root);
	return status == EXIT_usage ? command_refuse("test", why.detail) : status;
}
