/* SPDX-License-Identifier: MIT */
#include "host/conf.h"

#include "api/settings.h"
#include "base/buf.h"
#include "base/check.h"
#include "base/json.h"

#include <ctype.h>
#include <libgen.h>
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
#define TEXT(name, value, why) { #name, KIND_text, value, 0, 0, 0, offsetof(struct conf, name) },
#define SECRET(name, why) { #name, KIND_secret, "", 0, 0, 0, offsetof(struct conf, name) },
#define NUMBER(name, value, least, most, why) \
	{ #name, KIND_number, NULL, value, least, most, offsetof(struct conf, name) },
#include "host/conf.def"
#undef TEXT
#undef SECRET
#undef NUMBER
};

#define DEFINITIONS (sizeof(definitions) / sizeof(*definitions))

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

static bool exists(const char *root, const char *a, const char *b)
{
	char *path = conf_path(root, a, b, NULL);
	bool yes = access(path, R_OK) == 0;

	free(path);
	return yes;
}

/* --- the root ----------------------------------------------------------------------------------- */

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
	char *root;

	if (size <= 0)
		return NULL;
	path[size] = 0;
	root = conf_path(dirname(dirname(path)), "share", "orrery", NULL);
	if (exists(root, "lib", "app.lua"))
		return root;
	free(root);
	return NULL;
}

char *conf_find_root(const char *near, struct fault *why)
{
	const char *given = getenv("ORRERY_ROOT");
	char *root = NULL;

	if (given && *given) {
		if (exists(given, "lib", "app.lua"))
			return copy(given);
		fault_set(why, FAULT_bad_input, "ORRERY_ROOT: %s has no lib/app.lua", given);
		return NULL;
	}
	if (near)
		root = walk_up(near);
	if (!root)
		root = walk_up(".");
	if (!root)
		root = installed_root();
	if (!root)
		fault_set(why, FAULT_missing,
			  "no folder with lib/app.lua here, above, or installed: set ORRERY_ROOT");
	return root;
}

/* --- the service -------------------------------------------------------------------------------- */

static bool ends_with(const char *text, const char *end)
{
	size_t size = strlen(text), end_size = strlen(end);

	return size >= end_size && strcmp(text + size - end_size, end) == 0;
}

/* The file's folder, name and lab; a lab is a folder above the service's that has a conf/<lab>.lua. */
static void name_service(struct conf *conf)
{
	char path[PATH_MAX], above[PATH_MAX], conf_name[NAME_MAX + 8];
	char *base, *lab;

	snprintf(path, sizeof(path), "%s", conf->service_file);
	base = strrchr(path, '/');
	*base++ = 0;
	conf->service_dir = copy(path);
	if (strcmp(base, "service.lua") == 0) {
		conf->service = copy(strrchr(path, '/') + 1);
	} else {
		base[strlen(base) - strlen(".lua")] = 0;
		conf->service = copy(base);
	}
	snprintf(above, sizeof(above), "%s", path);
	lab = basename(dirname(above));
	snprintf(conf_name, sizeof(conf_name), "%.*s.lua", NAME_MAX, lab);
	conf->lab = copy(exists(conf->root, "conf", conf_name) ? lab : "");
}

static bool find_service(struct conf *conf, const char *spec, struct fault *why)
{
	char real[PATH_MAX];
	char *path;

	if (!spec) {
		conf->service = copy("orrery");
		conf->lab = copy("");
		conf->root = conf_find_root(NULL, why);
		return conf->root != NULL;
	}
	conf->root = conf_find_root(ends_with(spec, ".lua") ? spec : NULL, why);
	if (!conf->root)
		return false;
	path = ends_with(spec, ".lua") ? copy(spec) :
					 conf_path(conf->root, "scripts", spec, "service.lua");
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

/* --- values -------------------------------------------------------------------------------------- */

static bool set_value(struct conf *conf, const struct definition *definition, struct slice value,
		      const char *from, struct fault *why)
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
		return fault_set(why, FAULT_bad_input,
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

static bool read_lab(struct conf *conf, struct fault *why)
{
	char name[NAME_MAX + 8];
	char *path, *lib;
	struct slice setting;
	bool read;

	if (!*conf->lab)
		return true;
	snprintf(name, sizeof(name), "%s.lua", conf->lab);
	path = conf_path(conf->root, "conf", name, NULL);
	lib = conf_path(conf->root, "lib", NULL, NULL);
	read = settings_read_file(conf->shown, path, lib, slice_text(conf->service), why);
	for (size_t i = 0; read && settings_at(conf->shown, i, &setting); i++) {
		const struct definition *definition = definition_of(setting);

		if (slice_equal(setting, SLICE("upstreams")) ||
		    slice_equal(setting, SLICE("options")))
			continue;
		if (!definition || definition->kind == KIND_secret)
			read = fault_set(why, FAULT_bad_input, "%s: unknown setting '%.*s'%s", path,
					 SLICE_PRINT(setting),
					 definition ? " (a secret comes from the environment)" :
						      "");
		else
			read = set_value(conf, definition, settings_get(conf->shown, setting),
					 path, why);
	}
	free(path);
	free(lib);
	return read;
}

static bool read_environment(struct conf *conf, struct fault *why)
{
	char variable[64];

	for (size_t i = 0; i < DEFINITIONS; i++) {
		const char *value;
		int size = snprintf(variable, sizeof(variable), "ORRERY_%s", definitions[i].name);

		for (int c = 0; c < size; c++)
			variable[c] = (char)toupper((unsigned char)variable[c]);
		value = getenv(variable);
		if (value && *value &&
		    !set_value(conf, &definitions[i], slice_text(value), variable, why))
			return false;
	}
	return true;
}

static bool read_arguments(struct conf *conf, char *const *args, size_t count,
			   struct fault *why)
{
	for (size_t i = 0; i < count; i++) {
		struct slice value = slice_text(args[i]), name;
		const struct definition *definition;

		if (!slice_starts_with(value, SLICE("--")))
			return fault_set(why, FAULT_bad_input, "unexpected argument '%s'", args[i]);
		slice_cut(&value, '=', &name);
		name = slice_of(name.at + 2, name.size - 2);
		definition = definition_of(name);
		if (!definition || definition->kind == KIND_secret)
			return fault_set(why, FAULT_bad_input, "unknown setting '--%.*s'%s",
					 SLICE_PRINT(name),
					 definition ? " (a secret comes from the environment)" :
						      "");
		if (!value.at) {
			if (++i == count)
				return fault_set(why, FAULT_bad_input, "--%s needs a value",
						 definition->name);
			value = slice_text(args[i]);
		}
		if (!set_value(conf, definition, value, "command line", why))
			return false;
	}
	return true;
}

/* --- what scripts see ------------------------------------------------------------------------------ */

/* {"users": "http://..."}: the members of the file, then those of the environment
 * (ORRERY_UPSTREAM_USERS=http://...). Of two members with one name a reader takes the last. */
static void merge_upstreams(struct conf *conf)
{
	static const struct slice prefix = { "ORRERY_UPSTREAM_", 16 };
	struct slice file = settings_get(conf->shown, SLICE("upstreams"));
	struct buf merged = { 0 };
	struct json json = json_to(&merged);

	json_open_object(&json);
	if (file.size > 2) /* its members, without the braces */
		json_raw(&json, slice_of(file.at + 1, file.size - 2));
	for (char **variable = environ; *variable; variable++) {
		struct slice value = slice_text(*variable), name;
		char lower[64];

		slice_cut(&value, '=', &name);
		if (!slice_starts_with(name, prefix) || name.size - prefix.size >= sizeof(lower))
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
	if (*conf->jwt_secret)
		settings_set_text(conf->shown, SLICE("jwt_secret"), slice_text(conf->jwt_secret));
}

static bool one_of(const char *name, const char *value, const char *const *allowed,
		   struct fault *why)
{
	for (size_t i = 0; allowed[i]; i++)
		if (strcmp(value, allowed[i]) == 0)
			return true;
	return fault_set(why, FAULT_bad_input, "%s cannot be '%s'", name, value);
}

static bool check_words(const struct conf *conf, struct fault *why)
{
	static const char *const dialects[] = { "default", "micrometer", NULL };
	static const char *const modes[] = { "development", "production", NULL };
	static const char *const levels[] = { "debug", "info", "warn", "error", NULL };

	return one_of("dialect", conf->dialect, dialects, why) &&
	       one_of("mode", conf->mode, modes, why) &&
	       one_of("log_level", conf->log_level, levels, why);
}

bool conf_load(struct conf *conf, const char *spec, char *const *args, size_t count,
	       struct fault *why)
{
	*conf = (struct conf){ .shown = settings_create() };
	set_defaults(conf);
	if (!find_service(conf, spec, why) || !read_lab(conf, why) ||
	    !read_environment(conf, why) || !read_arguments(conf, args, count, why) ||
	    !check_words(conf, why))
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
