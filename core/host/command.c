/* SPDX-License-Identifier: MIT */
#include "host/command.h"

#include "base/check.h"
#include "base/slice.h"

#include <stdlib.h>

#define ROOT_OPTION                                                                      \
	"  --root DIR   the folder that holds lib/, scripts/ and conf/; else "           \
	"ORRERY_ROOT, "                                                                  \
	"else\n               the nearest one above, else the installed one\n"

const struct command commands[] = {
	{
		.name = "check",
		.arguments = "[SERVICE|LAB|FILE...]",
		.summary = "Finds what is wrong in scripts and settings.",
		.details =
			"Reads every .lua file of the service, lab or file; without "
			"arguments everything\n"
			"below lib/, scripts/ and conf/. Finds syntax errors, globals, "
			"modules and members\n"
			"of modules that are not there, settings that nobody reads or "
			"that are out of range,\n"
			"and what loading the service complains of. Needs no "
			"stores.\n\n" ROOT_OPTION,
		.failed = "there are findings",
		.example = "orrery check oms/orders",
		.run = cmd_check,
	},
	{
		.name = "dead",
		.arguments = "SERVICE|QUEUE [OPTION]...",
		.summary = "Shows messages that could not be handled, and replays them.",
		.details =
			"Each queue that a service consumes has QUEUE.dead, for what its "
			"consumer refuses.\n"
			"SERVICE is LAB/SERVICE, or a .lua file: all its queues. Where "
			"they are, says\n"
			"ORRERY_AMQP_URL. Without an option: how many there are, and the "
			"oldest of them;\n"
			"they stay in their places.\n\n"
			"  --replay     send them back to the queue they came from; one "
			"may come twice, with\n"
			"               the same id, when this is interrupted; none is "
			"ever lost\n"
			"  --drop       delete the one with --id\n"
			"  --id ID      only the message with this id\n"
			"  --limit N    show so many of each queue; else 10\n"
			"  --json       show one JSON object a line, with headers and "
			"the whole body\n" ROOT_OPTION,
		.failed = "no broker, no such queue, or no such letter",
		.example = "orrery dead oms/notifications --replay",
		.run = cmd_dead,
	},
	{
		.name = "explain",
		.arguments = "[NAME]",
		.summary = "Tells what a name means; without one, lists all names.",
		.details = "NAME is a module (json, native.db), one of its functions "
			   "(json.encode), a setting\n"
			   "(task_timeout_ms), a kind of fault (bad_input), a series "
			   "(http_requests_total), a\n"
			   "place that chaos can break (pg_query), or a "
			   "command.\n\n" ROOT_OPTION,
		.failed = "nothing is called that",
		.example = "orrery explain task_timeout_ms",
		.run = cmd_explain,
	},
	{
		.name = "health",
		.arguments = "[SERVICE|URL]",
		.summary = "Asks a process whether it is ready.",
		.details =
			"Asks GET /ready of the service on this machine, at admin_port "
			"or port of its\n"
			"settings; without an argument, at those of the environment. Or "
			"asks the URL. Shows\n"
			"the answer. For supervisors and container engines; gives up "
			"after 3 seconds.\n\n" ROOT_OPTION,
		.failed = "it is not ready, or nobody answers",
		.example = "orrery health oms/orders",
		.run = cmd_health,
	},
	{
		.name = "migrate",
		.arguments = "LAB",
		.summary = "Brings the database of a lab to its newest schema.",
		.details =
			"Applies what is new in scripts/LAB/<service>/schema.sql. "
			"ORRERY_POSTGRES_ADMIN_URL\n"
			"says where, as the owner of the database. Safe to run again.\n",
		.failed = "a section could not be applied",
		.example = "orrery migrate oms",
		.run = cmd_migrate,
	},
	{
		.name = "reload",
		.arguments = "SERVICE [--process PID]",
		.summary = "Has a running service load its source anew.",
		.details =
			"SERVICE is LAB/SERVICE, or a .lua file, served by processes of "
			"this machine. Says\n"
			"how it went: a version that does not load replaces nothing.\n\n"
			"  --process PID  only this one of them\n",
		.failed = "it does not load, or nothing serves it",
		.example = "orrery reload oms/orders",
		.run = cmd_reload,
	},
	{
		.name = "routes",
		.arguments = "SERVICE [--json]",
		.summary = "Shows the routes, sockets, consumers and jobs of a service.",
		.details =
			"SERVICE is LAB/SERVICE, or a .lua file that returns one. Needs "
			"no stores.\n\n"
			"  --json       as one JSON document\n" ROOT_OPTION,
		.failed = "the service does not load",
		.example = "orrery routes oms/orders",
		.run = cmd_routes,
	},
	{
		.name = "run",
		.arguments = "[OPTION]... [FILE [ARG...]]",
		.summary = "Runs a script as a task; without FILE, a session.",
		.details =
			"The script's `...` are the arguments; print writes to standard "
			"output, logs and\n"
			"complaints go to standard error. It may wait, and require what "
			"services may, and what\n"
			"lies in its own folder. A number that it returns is the exit "
			"status; Ctrl-C ends it\n"
			"with 130. A session reads standard input: each input is a task, "
			"its values are shown.\n\n"
			"  -i           a session\n"
			"  --timeout S  seconds that the script, or one input, may take; "
			"else no limit\n"
			"  --cpu_ms MS  CPU time it may use without waiting; else no "
			"limit\n"
			"  --SETTING V  as for orrery serve\n" ROOT_OPTION,
		.failed = "the script raised",
		.example = "orrery run scripts/oms/load.lua 200 16",
		.run = cmd_run,
	},
	{
		.name = "serve",
		.arguments = "SERVICE [--SETTING VALUE]...",
		.summary = "Runs one service.",
		.details =
			"SERVICE is LAB/SERVICE, or a .lua file that returns one. A "
			"setting comes from the\n"
			"command line (--port 8080), else from the environment "
			"(ORRERY_PORT), else from\n"
			"conf/LAB.lua, else it has its default. `orrery explain` lists "
			"them.\n\n" ROOT_OPTION,
		.failed = "it could not start, or did not end well",
		.example = "orrery serve scripts/hello/service.lua --port 8080",
		.run = cmd_serve,
	},
	{
		.name = "test",
		.arguments = "[OPTION]... FILE|FOLDER|LAB/SERVICE...",
		.summary = "Runs Lua tests without a socket.",
		.details = "Each file returns what lib/test.lua gathers. Output is TAP. "
			   "Stores are those of the\n"
			   "environment (ORRERY_POSTGRES_URL ...), where a test needs "
			   "them.\n\n"
			   "  --filter TEXT   only tests whose name holds the text\n"
			   "  --watch         and again whenever a file they loaded "
			   "changes\n",
		.failed = "a test failed",
		.example = "orrery test test/lua/json_test.lua",
		.run = cmd_test,
	},
	{ 0 },
};

const struct command *command_of(const char *name)
{
	for (const struct command *command = commands; command->name; command++)
		if (strcmp(command->name, name) == 0)
			return command;
	return NULL;
}

void command_print_help(const struct command *command, FILE *out)
{
	fprintf(out, "Usage: orrery %s %s\n\n%s\n\n%s\n", command->name,
		command->arguments, command->summary, command->details);
	fprintf(out,
		"Exit status: 0 well; 1 %s; 2 wrong use.\n"
		"Example: %s\n",
		command->failed, command->example);
}

int command_refuse(const char *name, const char *complaint)
{
	fprintf(stderr, "orrery %s: %s (see orrery %s --help)\n", name, complaint, name);
	return EXIT_usage;
}

/* "--root DIR" or "--root=DIR" at *i, which moves on to the value; NULL: neither. */
static const char *root_value(char *const *args, size_t count, size_t *i)
{
	struct slice arg = slice_text(args[*i]);

	if (slice_starts_with(arg, SLICE("--root=")))
		return args[*i] + strlen("--root=");
	if (!slice_equal(arg, SLICE("--root")) || *i + 1 == count)
		return NULL;
	return args[++*i];
}

bool command_take_arguments(const char *name, char *const *args, size_t count,
			    const char *flag, struct command_arguments *taken)
{
	char complaint[256];

	*taken = (struct command_arguments){ 0 };
	taken->words = mem_zeroed(count + 1, sizeof(*taken->words));
	for (size_t i = 0; i < count; i++) {
		const char *root = root_value(args, count, &i);

		if (root) {
			setenv("ORRERY_ROOT", root, 1);
		} else if (flag && strcmp(args[i], flag) == 0) {
			taken->flag = true;
		} else if (args[i][0] == '-') {
			snprintf(complaint, sizeof(complaint), "unknown option '%s'",
				 args[i]);
			command_refuse(name, complaint);
			return false;
		} else {
			taken->words[taken->count++] = args[i];
		}
	}
	return true;
}

void command_drop_arguments(struct command_arguments *taken)
{
	free(taken->words);
	*taken = (struct command_arguments){ 0 };
}
