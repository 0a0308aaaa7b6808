/* SPDX-License-Identifier: MIT */
/* command.h -- the commands of `orrery`, one file cmd_<name>.c each.
 *
 * A command gets the arguments behind its name and gives the exit status: 0 well, 1 it
 * failed, 2 it was called wrongly. What it says goes to standard output, complaints to
 * standard error.
 */
#ifndef HOST_COMMAND_H
#define HOST_COMMAND_H

#include <stddef.h>

struct command {
	const char *name;
	const char *arguments; /* as in the usage line */
	const char *summary; /* one sentence */
	int (*run)(char *const *args, size_t count);
};

enum { EXIT_well = 0, EXIT_failed = 1, EXIT_usage = 2 };

int cmd_migrate(char *const *args, size_t count);
int cmd_serve(char *const *args, size_t count);
int cmd_test(char *const *args, size_t count);

/* The table, sorted by name, ends with a name NULL. */
extern const struct command commands[];

/* "orrery NAME: complaint" on standard error; gives EXIT_usage. */
int command_refuse(const char *name, const char *complaint);

#endif
