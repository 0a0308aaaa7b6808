/* SPDX-License-Identifier: MIT */
#include "host/conf.h"

#include "api/settings.h"
#include "base/buf.h"
#include "base/check.h"
#include "base/json.h"
#include "host/conf_values.h"

#include <ctype.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

extern char **environ;

enum kind { KIND_text, KIND_secret, KIND_number };

static const struct definition {
	const char *name;
	enum kind kind;
	const char *text;
	unsigned long number, least, most;
	size_t place; /* in struct conf */
} definitions[] = {
#define TEXT(name, value, why)                                                           \
	{ #name, KIND_text, value, 0, 0, 0, offsetof(struct conf, name) },
#define SECRET(name, why)                                                                \
	{ #name, KIND_secret, "", 0, 0, 0, offsetof(struct conf, name) },
#define NUMBER(name, value, least, most, why)                                            \
	{ #name, KIND_number, NULL, value, least, most, offsetof(struct conf, name) },
#include "host/conf.def"
#undef TEXT
#undef SECRET
#undef NUMBER
};

#define DEFINITIONS (sizeof(definitions) / sizeof(*definitions))

/* A word of the command line that says where everything is, so it is read before the
 * rest. */
#define ROOT SLICE("root")

static char *copy(const char *text)
{
	return mem_copy(text, strlen(text));
}

char *conf_path(const char *root, const char *a, const char *b, const char *c)
{
	struct buf path = { 0 };

	buf_printf(&path, "%s/%s", root, a);
	if (b)
		buf_printf(&path, "/%s", b);
	if (c)
		buf_printf(&path, "/%s", c);
	buf_text(&path);
	return path.at;
}

/* The last part of a path. */
static struct slice last_part(struct slice path)
{
	const char *slash = path.size ? memrchr(path.at, '/', path.size) : NULL;

	return slash ? slice_of(slash + 1, path.size - (size_t)(slash + 1 - path.at))
		     : path;
}

/* What stands before the last part of an absolute path. */
static struct slice above(struct slice path)
{
	struct slice last = last_part(path);

	return slice_of(path.at, path.size > last.size ? path.size - last.size - 1 : 0);
}

static char *copy_slice(struct slice s)
{
	return mem_copy(s.size ? s.at : "", s.size);
}

static bool exists(const char *root, const char *a, const char *b)
{
	char *path = conf_path(root, a, b, NULL);
	bool yes = access(path, R_OK) == 0;

	free(path);
	return yes;
}

/* --- the root --------------------------------------------------------------------- */

/* The nearest folder at or above `from` that has lib/app.lua; NULL when there is none. */
static char *walk_up(const char *from)
{
	char path[PATH_MAX];

	if (!realpath(from, path))
		return NULL;
	for (;;) {
		char *slash;

		if (exists(path, "lib", "app.lua"))
			return copy(path);
		slash = strrchr(path, '/');
		if (!slash || slash == path)
			return NULL;
		*slash = 0;
	}
}

/* PREFIX/share/orrery of PREFIX/bin/orrery. */
static char *installed_root(void)
{
	char path[PATH_MAX];
	ssize_t size = readlink("/proc/self/exe", path, sizeof(path) - 1);
	char *prefix, *root;

	if (size <= 0)
		return NULL;
	prefix = copy_slice(above(above(slice_of(path, (size_t)size))));
	root = conf_path(prefix, "share", "orrery", NULL);
	free(prefix);
	if (exists(root, "lib", "app.lua"))
		return root;
	free(root);
	return NULL;
}

/* A folder that somebody named. */
static char *given_root(const char *from, const char *given, struct fault *why)
{
	char path[PATH_MAX];

	if (realpath(given, path) && exists(path, "lib", "app.lua"))
		return copy(path);
	fault_set(why, FAULT_bad_input, "%s: %s has no lib/app.lua", from, given);
	return NULL;
}

char *conf_find_root(const char *near, struct fault *why)
{
	const char *given = getenv("ORRERY_ROOT");
	char *root = NULL;

	if (given && *given)
		return given_root("ORRERY_ROOT", given, why);
	if (near)
		root = walk_up(near);
	if (!root)
		root = walk_up(".");
	if (!root)
		root = installed_root();
	if (!root)
		fault_set(why, FAULT_missing,
			  "no folder with lib/app.lua here, above, or installed: set "
			  "ORRERY_ROOT");
	return root;
}

/* --- the service ------------------------------------------------------------------ */

static bool is_file(const char *spec)
{
	return slice_ends_with(slice_text(spec), SLICE(".lua"));
}

/* A lab is the folder above the service's, if there is a conf/<lab>.lua. */
static void name_lab(struct conf *conf, struct slice folder)
{
	char *lab = copy_slice(last_part(above(folder)));
	struct buf file = { 0 };

	buf_printf(&file, "%s.lua", lab);
	if (*lab && exists(conf->root, "conf", buf_text(&file))) {
		conf->lab = lab;
	} else {
		conf->lab = copy("");
		free(lab);
	}
	buf_finish(&file);
}

static void name_service(struct conf *conf)
{
	struct slice file = slice_text(conf->service_file);
	struct slice name = last_part(file), folder = above(file);

	if (slice_equal(name, SLICE("service.lua")) && last_part(folder).size)
		name = last_part(folder);
	else if (slice_ends_with(name, SLICE(".lua")))
		name.size -= strlen(".lua");
	conf->service_dir = copy_slice(folder);
	conf->service = copy_slice(name);
	name_lab(conf, folder);
}

/* root: what the command line said, or NULL. */
static bool find_service(struct conf *conf, const char *spec, const char *root,
			 struct fault *why)
{
	char real[PATH_MAX];
	char *path;

	if (root)
		conf->root = given_root("--root", root, why);
	else
		conf->root = conf_find_root(spec && is_file(spec) ? spec : NULL, why);
	if (!conf->root)
		return false;
	if (!spec) {
		conf->service = copy("orrery");
		conf->lab = copy("");
		return true;
	}
	path = is_file(spec) ? copy(spec)
			     : conf_path(conf->root, "scripts", spec, "service.lua");
	if (!realpath(path, real)) {
		fault_set(why, FAULT_missing, "no service at %s", path);
		free(path);
		return false;
	}
	free(path);
	conf->service_file = copy(real);
	name_service(conf);
	return true;
}

/* --- values ----------------------------------------------------------------------- */

static bool set_value(struct conf *conf, const struct definition *definition,
		      struct slice value, const char *from, struct fault *why)
{
	void *place = (char *)conf + definition->place;
	unsigned long long number;

	if (definition->kind != KIND_number) {
		free(*(char **)place);
		*(char **)place = mem_copy(value.at, value.size);
		return true;
	}
	if (!slice_to_uint(value, &number) || number < definition->least ||
	    number > definition->most)
		return fault_set(
			why, FAULT_bad_input,
			"%s: %s must be a whole number from %lu to %lu, not '%.*s'", from,
			definition->name, definition->least, definition->most,
			SLICE_PRINT(value));
	*(unsigned *)place = (unsigned)number;
	return true;
}

static const struct definition *definition_of(struct slice name)
{
	for (size_t i = 0; i < DEFINITIONS; i++)
		if (slice_equal(name, slice_text(definitions[i].name)))
			return &definitions[i];
	return NULL;
}

static void set_defaults(struct conf *conf)
{
	for (size_t i = 0; i < DEFINITIONS; i++) {
		void *place = (char *)conf + definitions[i].place;

		if (definitions[i].kind == KIND_number)
			*(unsigned *)place = (unsigned)definitions[i].number;
		else
			*(char **)place = copy(definitions[i].text);
	}
}

static bool refuse_unknown(const char *from, struct slice name,
			   const struct definition *definition, struct fault *why)
{
	return fault_set(why, FAULT_bad_input, "%s: unknown setting '%.*s'%s", from,
			 SLICE_PRINT(name),
			 definition ? " (a secret comes from the environment)" : "");
}

/* A setting of the lab's file; two of them are tables for the scripts. */
static bool take_from_file(struct conf *conf, const char *path, struct slice setting,
			   struct fault *why)
{
	const struct definition *definition = definition_of(setting);
	struct slice value = settings_get(conf->shown, setting);

	if (slice_equal(setting, SLICE("upstreams")) ||
	    slice_equal(setting, SLICE("options"))) {
		if (slice_starts_with(value, SLICE("{")))
			return true;
		return fault_set(why, FAULT_bad_input,
				 "%s: '%.*s' must be a table of names", path,
				 SLICE_PRINT(setting));
	}
	if (!definition || definition->kind == KIND_secret)
		return refuse_unknown(path, setting, definition, why);
	return set_value(conf, definition, value, path, why);
}

static bool read_lab(struct conf *conf, struct fault *why)
{
	char *path, *lib;
	struct slice setting;
	struct buf name = { 0 };
	bool read;

	if (!*conf->lab)
		return true;
	buf_printf(&name, "%s.lua", conf->lab);
	path = conf_path(conf->root, "conf", buf_text(&name), NULL);
	lib = conf_path(conf->root, "lib", NULL, NULL);
	read = settings_read_file(conf->shown, path, lib, slice_text(conf->service), why);
	for (size_t i = 0; read && settings_at(conf->shown, i, &setting); i++)
		read = take_from_file(conf, path, setting, why);
	free(path);
	free(lib);
	buf_finish(&name);
	return read;
}

static bool read_environment(struct conf *conf, struct fault *why)
{
	char variable[64];

	for (size_t i = 0; i < DEFINITIONS; i++) {
		const char *value;
		int size = snprintf(variable, sizeof(variable), "ORRERY_%s",
				    definitions[i].name);

		for (int c = 0; c < size; c++)
			variable[c] = (char)toupper((unsigned char)variable[c]);
		value = getenv(variable);
		if (value && *value &&
		    !set_value(conf, &definitions[i], slice_text(value), variable, why))
			return false;
	}
	return true;
}

/* "--name value" or "--name=value" at *i, which moves on to the value. False when it is
 * neither, or the value is missing. */
static bool cut_argument(char *const *args, size_t count, size_t *i, struct slice *name,
			 struct slice *value, struct fault *why)
{
	*value = slice_text(args[*i]);
	if (!slice_starts_with(*value, SLICE("--")))
		return fault_set(why, FAULT_bad_input, "unexpected argument '%s'",
				 args[*i]);
	slice_cut(value, '=', name);
	*name = slice_of(name->at + 2, name->size - 2);
	if (value->at)
		return true;
	if (++*i == count)
		return fault_set(why, FAULT_bad_input, "--%.*s needs a value",
				 SLICE_PRINT(*name));
	*value = slice_text(args[*i]);
	return true;
}

/* The value of --root, NULL when there is none. What else is wrong is found later. */
static const char *root_argument(char *const *args, size_t count)
{
	struct slice name, value;

	for (size_t i = 0; i < count; i++)
		if (cut_argument(args, count, &i, &name, &value, NULL) &&
		    slice_equal(name, ROOT))
			return value.at;
	return NULL;
}

static bool read_arguments(struct conf *conf, char *const *args, size_t count,
			   struct fault *why)
{
	for (size_t i = 0; i < count; i++) {
		const struct definition *definition;
		struct slice name, value;

		if (!cut_argument(args, count, &i, &name, &value, why))
			return false;
		if (slice_equal(name, ROOT))
			continue;
		definition = definition_of(name);
		if (!definition || definition->kind == KIND_secret)
			return refuse_unknown("command line", name, definition, why);
		if (!set_value(conf, definition, value, "command line", why))
			return false;
	}
	return true;
}

/* --- what scripts see ------------------------------------------------------------- */

/* {"users": "http://..."}: the members of the file, then those of the environment
 * (ORRERY_UPSTREAM_USERS=http://...). Of two members with one name a reader takes the
 * last. */
static void merge_upstreams(struct conf *conf)
{
	struct slice prefix = SLICE("ORRERY_UPSTREAM_");
	struct slice file = settings_get(conf->shown, SLICE("upstreams"));
	struct buf merged = { 0 };
	struct json json = json_to(&merged);

	json_open_object(&json);
	if (file.size > 2) /* its members, without the braces */
		json_raw(&json, slice_of(file.at + 1, file.size - 2));
	for (char **variable = environ; variable && *variable; variable++) {
		struct slice value = slice_text(*variable), name;
		char lower[64];

		slice_cut(&value, '=', &name);
		if (!slice_starts_with(name, prefix) ||
		    name.size - prefix.size >= sizeof(lower))
			continue;
		name = slice_of(name.at + prefix.size, name.size - prefix.size);
		for (size_t i = 0; i < name.size; i++)
			lower[i] = (char)tolower((unsigned char)name.at[i]);
		json_key(&json, slice_of(lower, name.size));
		json_string(&json, value);
	}
	json_close_object(&json);
	settings_set_json(conf->shown, SLICE("upstreams"), buf_slice(&merged));
	buf_finish(&merged);
}

static void show(struct conf *conf)
{
	char port[16];

	if (!settings_get(conf->shown, SLICE("options")).at)
		settings_set_json(conf->shown, SLICE("options"), SLICE("{}"));
	merge_upstreams(conf);
	snprintf(port, sizeof(port), "%u", conf->port);
	settings_set_json(conf->shown, SLICE("port"), slice_text(port));
	settings_set_text(conf->shown, SLICE("service"), slice_text(conf->service));
	settings_set_text(conf->shown, SLICE("lab"), slice_text(conf->lab));
	settings_set_text(conf->shown, SLICE("mode"), slice_text(conf->mode));
	settings_set_text(conf->shown, SLICE("dialect"), slice_text(conf->dialect));
	if (*conf->jwt_secret)
		settings_set_text(conf->shown, SLICE("jwt_secret"),
				  slice_text(conf->jwt_secret));
}

bool conf_load(struct conf *conf, const char *spec, char *const *args, size_t count,
	       struct fault *why)
{
	*conf = (struct conf){ .shown = settings_create() };
	set_defaults(conf);
	if (!find_service(conf, spec, root_argument(args, count), why) ||
	    !read_lab(conf, why) || !read_environment(conf, why) ||
	    !read_arguments(conf, args, count, why) || !conf_values_good(conf, why))
		return false;
	show(conf);
	return true;
}

void conf_finish(struct conf *conf)
{
	for (size_t i = 0; i < DEFINITIONS; i++)
		if (definitions[i].kind != KIND_number)
			free(*(char **)((char *)conf + definitions[i].place));
	free(conf->root);
	free(conf->service_dir);
	free(conf->service_file);
	free(conf->service);
	free(conf->lab);
	settings_destroy(conf->shown);
	*conf = (struct conf){ 0 };
}
