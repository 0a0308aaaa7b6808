/* SPDX-License-Identifier: MIT */
/* cmd_serve.c -- orrery serve SERVICE: settings in, one running service out. */
#include "host/command.h"

#include "host/conf.h"
#include "host/host.h"

#include <stdio.h>

int cmd_serve(char *const *args, size_t count)
{
	struct conf conf;
	struct fault why;
	int status;

	if (count == 0 || args[0][0] == '-')
		return command_refuse("serve",
				      "which service? LAB/SERVICE or a .lua file");
	if (!conf_load(&conf, args[0], args + 1, count - 1, &why)) {
		conf_finish(&conf);
		return command_refuse("serve", why.detail);
	}
	status = host_serve(&conf, &why) ? EXIT_well : EXIT_failed;
	if (status != EXIT_well)
		fprintf(stderr, "orrery serve: %s: %s\n", conf.service, why.detail);
	conf_finish(&conf);
	return status;
}
