/* SPDX-License-Identifier: MIT */
/* cmd_explain.c -- orrery explain [NAME]: what a name means, from where it is defined. */
#include "host/command.h"

#include "base/check.h"
#include "host/conf.h"
#include "host/explain.h"
#include "host/lua_doc.h"
#include "host/near.h"
#include "host/tree.h"

#include <stdlib.h>
#include <string.h>

static const struct explain_sort *const sorts[] = {
	&explain_commands, &explain_settings, &explain_modules, &explain_functions,
	&explain_natives,  &explain_faults,   &explain_series,	&explain_points,
};

#define SORTS (sizeof(sorts) / sizeof(*sorts))
#define LIKE_MAX 5 /* names shown for one that is unknown */

void explain_print(const struct explain *explain, struct slice text)
{
	struct slice line;

	if (slice_ends_with(text, SLICE("\n")))
		text.size--;
	while (text.size && slice_cut(&text, '\n', &line))
		fprintf(explain->out, "%s%.*s\n", line.size ? "    " : "",
			SLICE_PRINT(line));
}

/* --- the overview ----------------------------------------------------------------- */

struct overview {
	FILE *out;
	int width; /* of the longest name */
	bool measuring;
};

/* A sentence of two lines is one here. */
static void print_name(void *context, const char *name, struct slice line)
{
	struct overview *overview = context;
	int size = (int)strlen(name);
	struct slice part;

	if (overview->measuring) {
		overview->width = size > overview->width ? size : overview->width;
		return;
	}
	fprintf(overview->out, "  %-*s ", overview->width, name);
	while (line.size && slice_cut(&line, '\n', &part))
		fprintf(overview->out, " %.*s", SLICE_PRINT(part));
	putc('\n', overview->out);
}

static int print_overview(const struct explain *explain)
{
	for (size_t i = 0; i < SORTS; i++) {
		struct overview overview = { explain->out, 0, true };

		sorts[i]->list(explain, print_name, &overview);
		overview.measuring = false;
		fprintf(explain->out, "%s%s\n", i ? "\n" : "", sorts[i]->title);
		sorts[i]->list(explain, print_name, &overview);
	}
	return EXIT_well;
}

/* --- one name --------------------------------------------------------------------- */

struct like {
	struct slice wanted;
	struct {
		char name[NEAR_SIZE_MAX];
		size_t steps;
	} best[LIKE_MAX];
	size_t count;
};

/* Whether one is a part of the other, at a boundary of words. */
static bool is_part(struct slice name, struct slice wanted)
{
	const char *at = wanted.size > 2 && wanted.size < name.size
				 ? memmem(name.at, name.size, wanted.at, wanted.size)
				 : NULL;

	return at && (at == name.at || strchr("_.:", at[-1]));
}

static void offer(void *context, const char *text, struct slice line)
{
	struct like *like = context;
	struct slice name = slice_text(text);
	size_t steps = near_steps(name, like->wanted), at = like->count;

	if (name.size >= NEAR_SIZE_MAX ||
	    (steps > 1 + like->wanted.size / 4 && !is_part(name, like->wanted)))
		return;
	while (at > 0 && like->best[at - 1].steps > steps)
		at--;
	if (at == LIKE_MAX || (at > 0 && strcmp(like->best[at - 1].name, text) == 0))
		return;
	if (like->count < LIKE_MAX)
		like->count++;
	memmove(&like->best[at + 1], &like->best[at],
		(like->count - 1 - at) * sizeof(*like->best));
	memcpy(like->best[at].name, text, name.size + 1);
	like->best[at].steps = steps;
}

static int refuse_name(const struct explain *explain, struct slice name)
{
	struct like like = { .wanted = name };

	for (size_t i = 0; i < SORTS; i++)
		sorts[i]->list(explain, offer, &like);
	fprintf(stderr, "orrery explain: nothing is called '%.*s'", SLICE_PRINT(name));
	for (size_t i = 0; i < like.count; i++)
		fprintf(stderr, "%s%s", i ? ", " : "; like it: ", like.best[i].name);
	fputc('\n', stderr);
	return EXIT_failed;
}

/* A name may be of several sorts: test is a command and a module. */
static int explain_name(const struct explain *explain, struct slice name)
{
	bool known = false;

	for (size_t i = 0; i < SORTS; i++) {
		char *text = NULL;
		size_t size = 0;
		struct explain part = *explain;

		part.out = open_memstream(&text, &size);
		check(part.out != NULL);
		if (sorts[i]->tell(&part, name)) {
			fclose(part.out);
			fprintf(explain->out, "%s%s", known ? "\n" : "", text);
			known = true;
		} else {
			fclose(part.out);
		}
		free(text);
	}
	return known ? EXIT_well : refuse_name(explain, name);
}

/* --- the command ------------------------------------------------------------------ */

/* before: what the names of the modules begin with. */
static void read_docs(struct explain_docs *docs, const char *root, const char *folder,
		      const char *before)
{
	struct tree_list files = { 0 };
	char *path = conf_path(root, "lib", folder, NULL);

	tree_add_files(&files, path, false);
	docs->all = mem_zeroed(files.count + 1, sizeof(struct lua_doc *));
	for (size_t i = 0; i < files.count; i++) {
		struct slice name = slice_text(strrchr(files.paths[i], '/') + 1);
		struct lua_doc *doc;
		char module[128];
		int size = snprintf(module, sizeof(module), "%s%.*s", before,
				    (int)(name.size - strlen(".lua")), name.at);

		if (size < 0 || (size_t)size >= sizeof(module))
			continue;
		doc = lua_doc_read(files.paths[i], slice_of(module, (size_t)size));
		if (doc)
			docs->all[docs->count++] = doc;
	}
	tree_finish(&files);
	free(path);
}

static void drop_docs(struct explain_docs *docs)
{
	for (size_t i = 0; i < docs->count; i++)
		lua_doc_destroy(docs->all[i]);
	free(docs->all);
}

static int run(const char *name)
{
	struct explain explain = { .out = stdout };
	struct fault why;
	char *root = conf_find_root(NULL, &why);
	int status;

	if (!root)
		return command_refuse("explain", why.detail);
	read_docs(&explain.modules, root, NULL, "");
	read_docs(&explain.natives, root, "native", "native.");
	status = name ? explain_name(&explain, slice_text(name))
		      : print_overview(&explain);
	drop_docs(&explain.modules);
	drop_docs(&explain.natives);
	free(root);
	return status;
}

int cmd_explain(char *const *args, size_t count)
{
	struct command_arguments given;
	int status = EXIT_usage;

	if (command_take_arguments("explain", args, count, NULL, &given))
		status = given.count < 2
				 ? run(given.words[0])
				 : command_refuse("explain", "one name at a time");
	command_drop_arguments(&given);
	return status;
}
