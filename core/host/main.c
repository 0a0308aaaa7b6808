/* SPDX-License-Identifier: MIT */
/* main.c -- from the command line to a command. */
#include "host/command.h"

#include <stdio.h>
#include <string.h>

static int print_usage(FILE *out)
{
	fprintf(out, "orrery %s -- services in Lua, observed\n\n", ORRERY_VERSION);
	for (const struct command *command = commands; command->name; command++)
		fprintf(out, "  orrery %-8s %-24s %s\n", command->name,
			command->arguments, command->summary);
	fprintf(out, "\n  orrery help COMMAND, orrery --version\n");
	return out == stdout ? EXIT_well : EXIT_usage;
}

static const struct command *find_command(const char *name)
{
	for (const struct command *command = commands; command->name; command++)
		if (strcmp(command->name, name) == 0)
			return command;
	return NULL;
}

static int print_help(const char *name)
{
	const struct command *command = find_command(name);

	if (!command)
		return command_refuse("help", "no such command");
	printf("orrery %s %s\n\n%s\n", command->name, command->arguments,
	       command->summary);
	return EXIT_well;
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
	if (strcmp(args[1], "--help") == 0 || strcmp(args[1], "help") == 0)
		return count > 2 ? print_help(args[2]) : print_usage(stdout);
	command = find_command(args[1]);
	if (!command) {
		fprintf(stderr, "orrery: no command '%s'\n\n", args[1]);
		return print_usage(stderr);
	}
	if (count > 2 && strcmp(args[2], "--help") == 0)
		return print_help(args[1]);
	return command->run(args + 2, (size_t)count - 2);
}
