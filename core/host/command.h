/* SPDX-License-Identifier: MIT */
/* command.h -- the commands of `orrery`, one file cmd_<name>.c each.
 *
 * A command gets the arguments behind its name and gives the exit status: 0 well, 1 it
 * failed or found something, 2 it was called wrongly. What it says goes to standard
 * output, complaints to standard error. `orrery NAME --help` is answered from this table.
 */
#ifndef HOST_COMMAND_H
#define HOST_COMMAND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

struct command {
	const char *name;
	const char *arguments; /* as in the usage line */
	const char *summary; /* one sentence, up to 60 characters */
	const char *details; /* what it does, and its options; lines of text */
	const char *failed; /* what exit status 1 means */
	const char *example; /* a line to type */
	int (*run)(char *const *args, size_t count);
};

enum { EXIT_well = 0, EXIT_failed = 1, EXIT_usage = 2 };

int cmd_check(char *const *args, size_t count);
int cmd_dead(char *const *args, size_t count);
int cmd_explain(char *const *args, size_t count);
int cmd_health(char *const *args, size_t count);
int cmd_migrate(char *const *args, size_t count);
int cmd_reload(char *const *args, size_t count);
int cmd_routes(char *const *args, size_t count);
int cmd_run(char *const *args, size_t count);
int cmd_serve(char *const *args, size_t count);
int cmd_test(char *const *args, size_t count);

/* The table, sorted by name, ends with a name NULL. */
extern const struct command commands[];

/* NULL: there is none of this name. */
const struct command *command_of(const char *name);

/* Usage, what it does, exit statuses, an example. */
void command_print_help(const struct command *command, FILE *out);

/* "orrery NAME: complaint" on standard error; gives EXIT_usage. */
int command_refuse(const char *name, const char *complaint);

/* Words, an optional flag, and --root DIR, which stands for ORRERY_ROOT from then on. */
struct command_arguments {
	char **words; /* the texts are borrowed from args */
	size_t count;
	bool flag;
};

/* flag: "--json", or NULL for none. False after a complaint. In both cases
 * command_drop_arguments is due. */
bool command_take_arguments(const char *name, char *const *args, size_t count,
			    const char *flag, struct command_arguments *taken);
void command_drop_arguments(struct command_arguments *taken);

#endif
