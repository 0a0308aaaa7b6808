/* SPDX-License-Identifier: MIT */
/* cmd_reload.c -- orrery reload SERVICE: has its running processes, or one of them, load
 * their source anew, and says how it went. */
#include "host/command.h"

#include "host/conf.h"
#include "host/control.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TIMEOUT_MS 30000

/* "--process PID" behind the service, which is cut off then. False after a complaint. */
static bool take_process(char *const **args, size_t *count, long *pid)
{
	char *end = NULL;

	*pid = 0;
	if (*count == 0 || strcmp((*args)[0], "--process") != 0)
		return true;
	if (*count > 1)
		*pid = strtol((*args)[1], &end, 10);
	if (!end || *end || *pid <= 0) {
		command_refuse("reload", "--process needs the id of a process");
		return false;
	}
	*args += 2;
	*count -= 2;
	return true;
}

int cmd_reload(char *const *args, size_t count)
{
	struct buf out = { 0 };
	struct conf conf;
	struct fault why;
	size_t asked, failed;
	const char *service;
	long pid;

	if (count == 0 || args[0][0] == '-')
		return command_refuse("reload",
				      "which service? LAB/SERVICE or a .lua file");
	service = *args++;
	count--;
	if (!take_process(&args, &count, &pid))
		return EXIT_usage;
	if (!conf_load(&conf, service, args, count, &why)) {
		conf_finish(&conf);
		return command_refuse("reload", why.detail);
	}
	asked = control_reload(conf.service_file, pid, TIMEOUT_MS, &out, &failed);
	fwrite(buf_text(&out), 1, out.size, failed ? stderr : stdout);
	if (asked == 0)
		fprintf(stderr, "orrery reload: no %sprocess on this machine serves %s\n",
			pid ? "such " : "", conf.service_file);
	buf_finish(&out);
	conf_finish(&conf);
	return asked && !failed ? EXIT_well : EXIT_failed;
}
