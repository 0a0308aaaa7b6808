/* SPDX-License-Identifier: MIT */
#include "host/check_conf.h"

#include "api/settings.h"
#include "base/buf.h"
#include "host/conf.h"
#include "host/conf_doc.h"
#include "host/conf_lines.h"
#include "host/findings.h"
#include "host/near.h"

#include <stdio.h>
#include <stdlib.h>

struct look {
	struct findings *findings;
	const char *root;
	const char *lab;
	const char *path;
	const struct conf_lines *lines;
	const char *service; /* "" for the defaults alone */
	char *const *services;
	size_t count;
};

static bool is_table_setting(struct slice name)
{
	return slice_equal(name, SLICE("options")) ||
	       slice_equal(name, SLICE("upstreams"));
}

/* --- keys as they are written ----------------------------------------------------- */

static void add_unknown(const struct look *look, unsigned line, const char *what,
			const struct near *near)
{
	const char *best = near->best;

	findings_add(look->findings, look->path, line, "unknown %s '%.*s'%s%s%s", what,
		     SLICE_PRINT(near->wanted), *best ? ", did you mean '" : "", best,
		     *best ? "'?" : "");
}

static bool has_service(const struct look *look, struct slice name)
{
	for (size_t i = 0; i < look->count; i++)
		if (slice_equal(name, slice_text(look->services[i])))
			return true;
	return false;
}

/* "defaults" and "services", and below that the names of services. */
static void check_key(const struct look *look, const char *key, unsigned line)
{
	struct slice rest = slice_text(key), first;
	struct near near;

	slice_cut(&rest, '.', &first);
	if (slice_equal(first, SLICE("?")) || slice_equal(first, SLICE("defaults")))
		return;
	if (!slice_equal(first, SLICE("services"))) {
		near = near_to(first);
		near_offer(&near, SLICE("defaults"));
		near_offer(&near, SLICE("services"));
		if (!rest.at) /* its members are not told of again */
			add_unknown(look, line, "key", &near);
		return;
	}
	if (!rest.at || memchr(rest.at, '.', rest.size) || has_service(look, rest))
		return;
	near = near_to(rest);
	for (size_t i = 0; i < look->count; i++)
		near_offer(&near, slice_text(look->services[i]));
	add_unknown(look, line, "service", &near);
}

/* --- settings as they are --------------------------------------------------------- */

/* The line that decides for the service looked at. */
static unsigned line_of(const struct look *look, struct slice setting)
{
	char key[256];
	unsigned line = 0;

	if (*look->service) {
		snprintf(key, sizeof(key), "services.%s.%.*s", look->service,
			 SLICE_PRINT(setting));
		line = conf_lines_of(look->lines, key);
	}
	if (!line) {
		snprintf(key, sizeof(key), "defaults.%.*s", SLICE_PRINT(setting));
		line = conf_lines_of(look->lines, key);
	}
	return line;
}

static void check_number(const struct look *look, const struct conf_doc *doc,
			 struct slice value)
{
	unsigned long long number;

	if (doc->kind != CONF_number || (slice_to_uint(value, &number) &&
					 number >= doc->least && number <= doc->most))
		return;
	findings_add(look->findings, look->path, line_of(look, slice_text(doc->name)),
		     "%s must be a whole number from %lu to %lu, not %.*s", doc->name,
		     doc->least, doc->most, SLICE_PRINT(value));
}

static void check_setting(const struct look *look, struct slice name, struct slice value)
{
	const struct conf_doc *doc = conf_doc_of(name);
	unsigned line = line_of(look, name);
	struct near near = near_to(name);

	if (doc && doc->kind != CONF_secret) {
		check_number(look, doc, value);
	} else if (doc) {
		findings_add(look->findings, look->path, line,
			     "%s is a secret: it comes from the environment only",
			     doc->name);
	} else if (!is_table_setting(name)) {
		for (doc = conf_docs; doc->name; doc++)
			if (doc->kind != CONF_secret)
				near_offer(&near, slice_text(doc->name));
		near_offer(&near, SLICE("options"));
		near_offer(&near, SLICE("upstreams"));
		add_unknown(look, line, "setting", &near);
	} else if (!slice_starts_with(value, SLICE("{"))) {
		findings_add(look->findings, look->path, line,
			     "%.*s must be a table of names", SLICE_PRINT(name));
	}
}

/* False when the file cannot be read as settings at all. */
static bool check_settings(const struct look *look)
{
	struct settings *settings = settings_create();
	char *lib = conf_path(look->root, "lib", NULL, NULL);
	struct slice name;
	struct fault why;
	bool read;

	read = settings_read_file(settings, look->path, lib, slice_text(look->service),
				  &why);
	if (!read)
		findings_add_fault(look->findings, look->path, &why, (struct slice){ 0 });
	for (size_t i = 0; read && settings_at(settings, i, &name); i++)
		check_setting(look, name, settings_get(settings, name));
	settings_destroy(settings);
	free(lib);
	return read;
}

/* --- what the host itself says ---------------------------------------------------- */

/* The line of the setting that a complaint begins with: "mode cannot be 'x'". */
static unsigned line_of_complaint(const struct look *look, struct slice complaint)
{
	struct slice first;

	if (slice_starts_with(complaint, slice_text(look->path)))
		slice_cut(&complaint, ' ', &first);
	if (!slice_cut(&complaint, ' ', &first))
		return 0;
	return line_of(look, first);
}

/* Words that a setting may be; rules between settings. */
static void load_settings(const struct look *look)
{
	struct conf conf;
	struct fault why;
	char spec[512];
	unsigned line;

	snprintf(spec, sizeof(spec), "%s/%s", look->lab, look->service);
	if (!conf_load(&conf, spec, NULL, 0, &why)) {
		line = line_of_complaint(look, slice_text(why.detail));
		if (line)
			findings_add(look->findings, look->path, line, "%s", why.detail);
		else
			findings_add(look->findings, "settings", 0, "%s", why.detail);
	}
	conf_finish(&conf);
}

static void check_all(struct look *look)
{
	size_t before = findings_count(look->findings);
	const char *key;
	unsigned line;

	for (size_t i = 0; conf_lines_at(look->lines, i, &key, &line); i++)
		check_key(look, key, line);
	look->service = "";
	if (!check_settings(look))
		return;
	for (size_t i = 0; i < look->count; i++) {
		look->service = look->services[i];
		check_settings(look);
	}
	for (size_t i = 0; i < look->count && findings_count(look->findings) == before;
	     i++) {
		look->service = look->services[i];
		load_settings(look);
	}
}

void check_conf(struct findings *findings, const char *root, const char *lab,
		char *const *services, size_t count)
{
	struct look look = { .findings = findings,
			     .root = root,
			     .lab = lab,
			     .services = services,
			     .count = count };
	struct buf text = { 0 }, name = { 0 };
	char *path;

	buf_printf(&name, "%s.lua", lab);
	path = conf_path(root, "conf", buf_text(&name), NULL);
	look.path = path;
	if (findings_read(path, &text, NULL)) {
		struct conf_lines *lines = conf_lines_read(buf_slice(&text));

		look.lines = lines;
		check_all(&look);
		conf_lines_destroy(lines);
	}
	free(path);
	buf_finish(&text);
	buf_finish(&name);
}
