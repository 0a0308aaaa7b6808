/* SPDX-License-Identifier: MIT */
/* cmd_reload.c -- orrery reload SERVICE: has the running service load its source
 * anew, and says how it went. */
#include "host/command.h"

#include "host/conf.h"
#include "host/control.h"

#include <stdio.h>

#define TIMEOUT_MS 30000

int cmd_reload(char *const *args, size_t count)
{
	struct buf out = { 0 };
	struct conf conf;
	struct fault why;
	size_t asked, failed;

	if (count == 0 || args[0][0] == '-')
		return command_refuse("reload",
				      "which service? LAB/SERVICE or a .lua file");
	if (!conf_load(&conf, args[0], args + 1, count - 1, &why)) {
		conf_finish(&conf);
		return command_refuse("reload", why.detail);
	}
	asked = control_reload(conf.service_file, TIMEOUT_MS, &out, &failed);
	fwrite(buf_text(&out), 1, out.size, failed ? stderr : stdout);
	if (asked == 0)
		fprintf(stderr, "orrery reload: no process on this machine serves %s\n",
			conf.service_file);
	buf_finish(&out);
	conf_finish(&conf);
	return asked && !failed ? EXIT_well : EXIT_failed;
}
