/* SPDX-License-Identifier: MIT */
/* cmd_routes.c -- orrery routes SERVICE: what a service offers, from its own file. */
#include "host/command.h"

#include "api/service_text.h"
#include "host/dry.h"

#include <stdio.h>

static int print_routes(const char *spec, enum service_text how)
{
	struct buf out = { 0 };
	struct dry dry;
	struct fault why;
	int status = EXIT_well;

	if (!dry_open(&dry, DRY_service, spec, &why)) {
		status = command_refuse("routes", why.detail);
	} else if (service_describe(dry.wiring.api.vm, dry.conf.service_file, how, &out,
				    &why)) {
		fwrite(buf_text(&out), 1, out.size, stdout);
		if (how == SERVICE_TEXT_json)
			putchar('\n');
	} else {
		fprintf(stderr, "orrery routes: %s\n", why.detail);
		status = EXIT_failed;
	}
	buf_finish(&out);
	dry_close(&dry);
	return status;
}

int cmd_routes(char *const *args, size_t count)
{
	struct command_arguments given;
	int status = EXIT_usage;

	if (command_take_arguments("routes", args, count, "--json", &given))
		status = given.count == 1
				 ? print_routes(given.words[0],
						given.flag ? SERVICE_TEXT_json
							   : SERVICE_TEXT_lines)
				 : command_refuse("routes",
						  "which service? LAB/SERVICE or a .lua "
						  "file");
	command_drop_arguments(&given);
	return status;
}
