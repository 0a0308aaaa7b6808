/* SPDX-License-Identifier: MIT */
#include "host/command.h"

#include <stdio.h>

const struct command commands[] = {
	{ "migrate", "LAB", "Brings the database of a lab to its newest schema.",
	  cmd_migrate },
	{ "serve", "SERVICE [--SETTING VALUE]...",
	  "Runs one service: LAB/SERVICE, or a .lua file that returns one.", cmd_serve },
	{ "test", "FILE...", "Runs Lua tests without a socket.", cmd_test },
	{ NULL, NULL, NULL, NULL }
};

int command_refuse(const char *name, const char *complaint)
{
	fprintf(stderr, "orrery %s: %s\n", name, complaint);
	return EXIT_usage;
}
