/* SPDX-License-Identifier: MIT */
/* conf.h -- settings of a process: where they come from and what they are.
 *
 * Later wins: the default (conf.def), conf/<lab>.lua, the environment (ORRERY_PORT for
 * port), the command line
 * (--port). An unknown name on the command line or in the file is an error; so is a value
 * out of range.
 *
 * The root is the folder that holds lib/, scripts/ and conf/: --root, else ORRERY_ROOT,
 * else the nearest folder above the service's file or the current one that has
 * lib/app.lua, else the installed PREFIX/share/orrery.
 */
#ifndef HOST_CONF_H
#define HOST_CONF_H

#include "base/fault.h"

struct settings;

struct conf {
	char *root;
	char *service_dir;
	char *service_file;
	char *service; /* the folder's name, or the file's where it is not service.lua */
	char *lab; /* "" when the service is in none */
#define TEXT(name, value, why) char *name;
#define SECRET(name, why) char *name;
#define NUMBER(name, value, least, most, why) unsigned name;
#include "host/conf.def"
#undef TEXT
#undef SECRET
#undef NUMBER
	struct settings *shown; /* what scripts may see */
};

/* spec: "oms/orders", or the path of a .lua file, or NULL (no service: for tests and
 * tools). args:
 * "--name value" or "--name=value". conf_finish is due in any case. */
bool conf_load(struct conf *conf, const char *spec, char *const *args, size_t count,
	       struct fault *why);
void conf_finish(struct conf *conf);

/* The root only, for commands without a service; near: a file to start from, or NULL.
 * NULL with why when there is none. Freed with free(). */
char *conf_find_root(const char *near, struct fault *why);

/* Path of root/a[/b][/c]; freed with free(). b and c may be NULL. */
char *conf_path(const char *root, const char *a, const char *b, const char *c);

#endif
