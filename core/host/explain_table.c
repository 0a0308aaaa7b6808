/* SPDX-License-Identifier: MIT */
#include "host/explain.h"

#include "base/chaos.h"
#include "base/fault.h"
#include "host/command.h"
#include "host/conf_doc.h"

#include <ctype.h>

/* --- settings --------------------------------------------------------------------- */

/* Tables of conf/<lab>.lua that are for the scripts. */
static const char *const table_settings[][2] = {
	{ "options",
	  "What the scripts of a service read with conf.option(name, default)." },
	{ "upstreams",
	  "Base URLs of the services that http.call(upstream, ...) reaches." },
};

#define TABLE_SETTINGS (sizeof(table_settings) / sizeof(*table_settings))

static void list_settings(const struct explain *explain, explain_name_fn *tell,
			  void *context)
{
	for (const struct conf_doc *doc = conf_docs; doc->name; doc++)
		tell(context, doc->name, slice_text(doc->why));
	for (size_t i = 0; i < TABLE_SETTINGS; i++)
		tell(context, table_settings[i][0], slice_text(table_settings[i][1]));
}

static void print_variable(FILE *out, const char *name)
{
	fputs("ORRERY_", out);
	for (; *name; name++)
		putc(toupper((unsigned char)*name), out);
}

static void print_setting(FILE *out, const struct conf_doc *doc)
{
	fprintf(out, "%s  (setting", doc->name);
	if (doc->kind == CONF_number)
		fprintf(out, ": a whole number from %lu to %lu", doc->least, doc->most);
	else if (doc->kind == CONF_secret)
		fprintf(out, ": a secret");
	if (*doc->otherwise)
		fprintf(out, "; default %s", doc->otherwise);
	fprintf(out, ")\n    %s\n    Set by ", doc->why);
	print_variable(out, doc->name);
	if (doc->kind == CONF_secret) {
		fprintf(out, " in the environment only.\n");
		return;
	}
	fprintf(out,
		" in the environment, by --%s on the\n"
		"    command line, or in conf/LAB.lua as defaults.%s or\n"
		"    services.NAME.%s. The command line wins over the environment,\n"
		"    that over the service's own in the file, that over its defaults.\n",
		doc->name, doc->name, doc->name);
}

/* "task_timeout_ms" or "ORRERY_TASK_TIMEOUT_MS". */
static struct slice setting_name(struct slice name, char lower[64])
{
	struct slice prefix = SLICE("ORRERY_");

	if (!slice_starts_with(name, prefix) || name.size - prefix.size >= 64)
		return name;
	name = slice_of(name.at + prefix.size, name.size - prefix.size);
	for (size_t i = 0; i < name.size; i++)
		lower[i] = (char)tolower((unsigned char)name.at[i]);
	return slice_of(lower, name.size);
}

static bool tell_setting(const struct explain *explain, struct slice name)
{
	char lower[64];
	const struct conf_doc *doc = conf_doc_of(setting_name(name, lower));

	if (doc)
		print_setting(explain->out, doc);
	for (size_t i = 0; !doc && i < TABLE_SETTINGS; i++) {
		if (!slice_equal(name, slice_text(table_settings[i][0])))
			continue;
		fprintf(explain->out, "%s  (setting: a table in conf/LAB.lua)\n    %s\n",
			table_settings[i][0], table_settings[i][1]);
		return true;
	}
	return doc != NULL;
}

const struct explain_sort explain_settings = { "settings", list_settings, tell_setting };

/* --- faults ----------------------------------------------------------------------- */

static void list_faults(const struct explain *explain, explain_name_fn *tell,
			void *context)
{
	for (int kind = FAULT_none + 1; kind < FAULT_kinds; kind++)
		tell(context, fault_name((enum fault_kind)kind),
		     slice_text(fault_meaning((enum fault_kind)kind)));
}

static bool tell_fault(const struct explain *explain, struct slice name)
{
	struct fault why = { .kind = fault_kind_of(name) };

	if (why.kind == FAULT_none)
		return false;
	fprintf(explain->out,
		"%s  (kind of fault: answered with status %d, \"%s\")\n    %s\n"
		"    The same word is why.kind in scripts, \"kind\" in logs and problem "
		"documents, the\n    label kind of series, and error.type of spans.\n",
		fault_name(why.kind), fault_status(&why), fault_title(why.kind),
		fault_meaning(why.kind));
	return true;
}

const struct explain_sort explain_faults = { "kinds of fault", list_faults, tell_fault };

/* --- points of chaos -------------------------------------------------------------- */

static const char *const points[CHAOS_points] = {
#define POINT(name, what) [CHAOS_##name] = what,
#include "base/chaos.def"
#undef POINT
};

static void list_points(const struct explain *explain, explain_name_fn *tell,
			void *context)
{
	for (int at = 0; at < CHAOS_points; at++)
		tell(context, chaos_name((enum chaos_at)at), slice_text(points[at]));
}

static bool tell_point(const struct explain *explain, struct slice name)
{
	enum chaos_at at;

	if (!chaos_at_of(name, &at))
		return false;
	fprintf(explain->out,
		"%s  (point of chaos: %s)\n    A place that can be broken on purpose: to "
		"wait first, to fail with a kind of\n    fault, or to cut the connection "
		"in "
		"use.\n",
		chaos_name(at), points[at]);
	return true;
}

const struct explain_sort explain_points = { "points of chaos", list_points, tell_point };

/* --- commands --------------------------------------------------------------------- */

static void list_commands(const struct explain *explain, explain_name_fn *tell,
			  void *context)
{
	for (const struct command *command = commands; command->name; command++)
		tell(context, command->name, slice_text(command->summary));
}

static bool tell_command(const struct explain *explain, struct slice name)
{
	for (const struct command *command = commands; command->name; command++) {
		if (!slice_equal(name, slice_text(command->name)))
			continue;
		fprintf(explain->out, "%s  (command)\n", command->name);
		command_print_help(command, explain->out);
		return true;
	}
	return false;
}

const struct explain_sort explain_commands = { "commands", list_commands, tell_command };
