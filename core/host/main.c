/* SPDX-License-Identifier: MIT */
/* main.c -- from the command line to a command. */
#include "host/command.h"

#include "host/near.h"

#include <stdio.h>
#include <string.h>

static int print_usage(FILE *out)
{
	fprintf(out,
		"orrery %s -- services in Lua, observed\n\n"
		"Usage: orrery COMMAND [ARGUMENT...]\n\n",
		ORRERY_VERSION);
	for (const struct command *command = commands; command->name; command++)
		fprintf(out, "  %-8s  %s\n", command->name, command->summary);
	fprintf(out, "\norrery COMMAND --help tells more; orrery --version.\n");
	return out == stdout ? EXIT_well : EXIT_usage;
}

static int refuse_command(const char *name)
{
	struct near near = near_to(slice_text(name));

	for (const struct command *command = commands; command->name; command++)
		near_offer(&near, slice_text(command->name));
	fprintf(stderr, "orrery: no command '%s'", name);
	if (*near.best)
		fprintf(stderr, ", did you mean '%s'?", near.best);
	fprintf(stderr, "\n\n");
	return print_usage(stderr);
}

static int print_help(const char *name)
{
	const struct command *command = command_of(name);

	if (!command)
		return refuse_command(name);
	command_print_help(command, stdout);
	return EXIT_well;
}

static bool is_help(const char *word)
{
	return strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0;
}

int main(int count, char **args)
{
	const struct command *command;

	if (count < 2)
		return print_usage(stderr);
	if (strcmp(args[1], "--version") == 0) {
		printf("orrery %s\n", ORRERY_VERSION);
		return EXIT_well;
	}
	if (is_help(args[1]) || strcmp(args[1], "help") == 0)
		return count > 2 ? print_help(args[2]) : print_usage(stdout);
	command = command_of(args[1]);
	if (!command)
		return refuse_command(args[1]);
	for (int i = 2; i < count; i++)
		if (is_help(args[i]))
			return print_help(args[1]);
	return command->run(args + 2, (size_t)count - 2);
}
