/* SPDX-License-Identifier: MIT */
#include "host/test_watch.h"

#include "base/buf.h"
#include "base/check.h"
#include "host/command.h"
#include "host/conf.h"
#include "host/interrupt.h"
#include "host/test_file.h"
#include "host/test_select.h"
#include "loop/loop.h"
#include "script/source_watch.h"

#include <stdio.h>
#include <stdlib.h>

#define FOLDERS_MAX 4 /* lib, scripts, and two of tests */
#define DEPTH 16

struct seen { /* a file of tests that was run */
	char *path;
	char *loaded; /* of its last run, a path a line */
	bool failed;
};

struct watching {
	const char *root;
	const char *filter;
	char *const *what;
	size_t what_count;
	struct loop *loop;
	struct interrupt interrupt;
	char *paths[FOLDERS_MAX];
	struct source_folder folders[FOLDERS_MAX];
	size_t folder_count;
	struct sources *sources; /* as they were before the last run */
	struct seen *files;
	size_t file_count;
	int status;
};

/* --- what to watch ---------------------------------------------------------------- */

static bool is_inside(const char *path, const char *folder)
{
	size_t size = strlen(folder);

	return strncmp(path, folder, size) == 0 && (path[size] == '/' || !path[size]);
}

/* Cuts `folder` back until path is inside. */
static void widen(char *folder, const char *path)
{
	while (!is_inside(path, folder)) {
		char *slash = strrchr(folder, '/');

		*slash = 0;
	}
}

/* Where there are more folders than places, the last place takes what holds both. */
static void add_folder(struct watching *watching, const char *folder)
{
	for (size_t i = 0; i < watching->folder_count; i++)
		if (is_inside(folder, watching->paths[i]))
			return;
	if (watching->folder_count == FOLDERS_MAX)
		widen(watching->paths[FOLDERS_MAX - 1], folder);
	else
		watching->paths[watching->folder_count++] =
			mem_copy(folder, strlen(folder));
}

static void find_folders(struct watching *watching, const struct test_selection *tests)
{
	static const char *const always[] = { "lib", "scripts" };

	for (size_t i = 0; i < sizeof(always) / sizeof(*always); i++) {
		char *path = conf_path(watching->root, always[i], NULL, NULL);

		add_folder(watching, path);
		free(path);
	}
	for (size_t i = 0; i < tests->count; i++) {
		size_t size = (size_t)(strrchr(tests->paths[i], '/') - tests->paths[i]);
		char *folder = mem_copy(tests->paths[i], size);

		add_folder(watching, folder);
		free(folder);
	}
	for (size_t i = 0; i < watching->folder_count; i++)
		watching->folders[i] =
			(struct source_folder){ watching->paths[i], DEPTH };
}

/* --- what to run ------------------------------------------------------------------ */

static struct seen *seen_of(struct watching *watching, const char *path)
{
	for (size_t i = 0; i < watching->file_count; i++)
		if (strcmp(watching->files[i].path, path) == 0)
			return &watching->files[i];
	return NULL;
}

static struct seen *add_seen(struct watching *watching, const char *path)
{
	struct seen *seen;

	watching->files =
		mem_resize(watching->files, (watching->file_count + 1) * sizeof(*seen));
	seen = &watching->files[watching->file_count++];
	*seen = (struct seen){ .path = mem_copy(path, strlen(path)) };
	return seen;
}

static bool has_changed(struct sources *before, struct sources *now, const char *path)
{
	struct slice old = { 0 }, new = { 0 };
	bool was = sources_text(before, path, &old, NULL);
	bool is = sources_text(now, path, &new, NULL);

	return was != is || !slice_equal(old, new);
}

/* What failed is run again as well: a file it missed may be there by now. */
static bool is_affected(const struct seen *seen, struct sources *before,
			struct sources *now)
{
	struct slice rest = slice_text(seen->loaded), line;
	bool affected = seen->failed;

	while (!affected && rest.size && slice_cut(&rest, '\n', &line)) {
		char *path = mem_copy(line.at, line.size);

		affected = line.size && has_changed(before, now, path);
		free(path);
	}
	return affected;
}

/* Selects those that now says are affected; NULL: all. */
static bool select_tests(struct watching *watching, struct sources *now,
			 struct test_selection *chosen, struct fault *why)
{
	struct test_selection all = { 0 };
	bool known = true;

	for (size_t i = 0; known && i < watching->what_count; i++)
		known = test_select(&all, watching->root, watching->what[i], why);
	for (size_t i = 0; known && i < all.count; i++) {
		const struct seen *seen = seen_of(watching, all.paths[i]);

		if (!now || !seen || is_affected(seen, watching->sources, now))
			known = test_select(chosen, watching->root, all.paths[i], why);
	}
	test_selection_finish(&all);
	return known;
}

/* --- running ---------------------------------------------------------------------- */

static void run_tests(struct watching *watching, const struct test_selection *tests)
{
	int total = 0, failed = 0;

	for (size_t i = 0; i < tests->count && !interrupt_came(&watching->interrupt);
	     i++) {
		struct test_file file = { watching->root, tests->paths[i],
					  watching->filter, total + 1 };
		struct seen *seen = seen_of(watching, file.path);
		struct test_outcome outcome;

		if (!seen)
			seen = add_seen(watching, file.path);
		test_file_run(&file, &outcome);
		total += outcome.run;
		failed += outcome.failed;
		free(seen->loaded);
		seen->loaded = outcome.loaded;
		seen->failed = outcome.failed > 0;
	}
	watching->status = test_file_summary(total, failed);
}

static void say_waiting(void)
{
	printf("# waiting for a change; Ctrl-C ends\n");
	fflush(stdout);
}

/* The sources are read before the tests run, so that what changes meanwhile is seen as a
 * change afterwards. */
static void on_changed(void *context)
{
	struct watching *watching = context;
	struct test_selection tests = { 0 };
	struct fault why;
	struct sources *now =
		sources_read(watching->folders, watching->folder_count, &why);

	if (!now || !select_tests(watching, now, &tests, &why)) {
		printf("# %s\n", why.detail);
		say_waiting();
	} else if (tests.count) {
		run_tests(watching, &tests);
		say_waiting();
	}
	if (now) {
		sources_release(watching->sources);
		watching->sources = now;
	}
	test_selection_finish(&tests);
}

static void on_interrupt(void *context)
{
	struct watching *watching = context;

	loop_stop(watching->loop);
}

static void watch(struct watching *watching, const struct test_selection *tests)
{
	struct chaos chaos = { 0 };
	struct observer observer = { 0 };
	struct source_watch *watch;

	watching->loop = loop_create(&observer, &chaos);
	interrupt_init(&watching->interrupt, watching->loop, on_interrupt, watching);
	watch = source_watch_create(watching->loop, watching->folders,
				    watching->folder_count, on_changed, watching);
	run_tests(watching, tests);
	if (!interrupt_came(&watching->interrupt))
		say_waiting();
	loop_run(watching->loop);
	source_watch_destroy(watch);
	interrupt_finish(&watching->interrupt);
	loop_destroy(watching->loop);
}

int test_watch(const char *root, const char *filter, char *const *what, size_t count,
	       struct fault *why)
{
	struct watching watching = { .root = root, .filter = filter, .what = what };
	struct test_selection tests = { 0 };

	watching.what_count = count;
	watching.status = EXIT_usage;
	if (select_tests(&watching, NULL, &tests, why)) {
		find_folders(&watching, &tests);
		watching.sources =
			sources_read(watching.folders, watching.folder_count, why);
		if (watching.sources)
			watch(&watching, &tests);
	}
	test_selection_finish(&tests);
	sources_release(watching.sources);
	for (size_t i = 0; i < watching.folder_count; i++)
		free(watching.paths[i]);
	for (size_t i = 0; i < watching.file_count; i++) {
		free(watching.files[i].path);
		free(watching.files[i].loaded);
	}
	free(watching.files);
	return watching.status;
}
