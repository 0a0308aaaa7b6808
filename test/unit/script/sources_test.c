/* SPDX-License-Identifier: MIT */
#include "script/sources.h"

#include "base/buf.h"
#include "script/source_watch.h"
#include "base/check.h"
#include "loop/loop.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

struct ground {
	char folder[64];
	struct observer observer;
	struct chaos chaos;
	struct loop *loop;
	unsigned changes;
};

static int setup(void **state)
{
	struct ground *g = mem_zeroed(1, sizeof(*g));

	strcpy(g->folder, "/tmp/sources_test_XXXXXX");
	assert_non_null(mkdtemp(g->folder));
	g->loop = loop_create(&g->observer, &g->chaos);
	*state = g;
	return 0;
}

static int teardown(void **state)
{
	struct ground *g = *state;
	char command[128];

	loop_destroy(g->loop);
	snprintf(command, sizeof(command), "rm -rf %s", g->folder);
	assert_int_equal(system(command), 0);
	free(g);
	return 0;
}

static const char *path_of(struct ground *g, const char *name)
{
	static char path[256];

	snprintf(path, sizeof(path), "%s/%s", g->folder, name);
	return path;
}

static void put(struct ground *g, const char *name, const char *text)
{
	FILE *file = fopen(path_of(g, name), "w");

	assert_non_null(file);
	fputs(text, file);
	fclose(file);
}

static struct sources *read_all(struct ground *g, int depth)
{
	struct source_folder folders[] = { { g->folder, depth }, { "/nowhere", 4 } };
	struct fault why;
	struct sources *sources = sources_read(folders, 2, &why);

	assert_non_null(sources);
	return sources;
}

static void assert_text(struct sources *sources, const char *path, const char *expected)
{
	struct slice text;
	struct fault why;

	if (!expected) {
		assert_false(sources_text(sources, path, &text, &why));
		assert_int_equal(why.kind, FAULT_missing);
		return;
	}
	assert_true(sources_text(sources, path, &text, &why));
	assert_true(slice_equal(text, slice_text(expected)));
}

static void test_a_snapshot_does_not_see_what_happens_to_the_files(void **state)
{
	struct ground *g = *state;
	struct sources *sources, *other;

	put(g, "a.lua", "return 1");
	sources = read_all(g, 4);
	put(g, "a.lua", "return 2");
	put(g, "b.lua", "return 3");
	assert_text(sources, path_of(g, "a.lua"), "return 1");
	assert_text(sources, path_of(g, "b.lua"), NULL);
	other = sources_share(sources);
	sources_release(sources);
	assert_text(other, path_of(g, "a.lua"), "return 1");
	sources_release(other);
}

static void test_only_lua_files_within_the_depth_are_read(void **state)
{
	struct ground *g = *state;
	struct sources *sources;

	mkdir(path_of(g, "in"), 0755);
	mkdir(path_of(g, ".git"), 0755);
	put(g, "in/c.lua", "return 4");
	put(g, ".git/d.lua", "");
	put(g, ".hidden.lua", "");
	put(g, "e.txt", "");
	sources = read_all(g, 2);
	assert_text(sources, path_of(g, "in/c.lua"), "return 4");
	assert_text(sources, path_of(g, ".git/d.lua"), NULL);
	assert_text(sources, path_of(g, ".hidden.lua"), NULL);
	assert_text(sources, path_of(g, "e.txt"), NULL);
	sources_release(sources);
	sources = read_all(g, 1);
	assert_text(sources, path_of(g, "in/c.lua"), NULL);
	sources_release(sources);
}

static void test_the_digest_tells_whether_anything_differs(void **state)
{
	struct ground *g = *state;
	struct sources *one, *two;

	put(g, "a.lua", "x");
	put(g, "b.lua", "yz");
	one = read_all(g, 4);
	two = read_all(g, 4);
	assert_true(sources_digest(one) == sources_digest(two));
	sources_release(two);
	put(g, "a.lua", "xy");
	put(g, "b.lua", "z");
	two = read_all(g, 4);
	assert_true(sources_digest(one) != sources_digest(two));
	sources_release(one);
	sources_release(two);
}

static void test_a_chunk_is_found_by_the_end_of_its_path(void **state)
{
	struct ground *g = *state;
	struct sources *sources;

	mkdir(path_of(g, "hello"), 0755);
	put(g, "hello/service.lua", "hello");
	put(g, "x_service.lua", "other");
	sources = read_all(g, 4);
	assert_true(slice_equal(sources_of_chunk(sources, SLICE("hello/service.lua")),
				SLICE("hello")));
	assert_int_equal(sources_of_chunk(sources, SLICE("absent.lua")).size, 0);
	assert_int_equal(sources_of_chunk(sources, SLICE("")).size, 0);
	sources_release(sources);
}

static void on_changed(void *context)
{
	((struct ground *)context)->changes++;
}

static bool comes_within(struct ground *g, unsigned changes, int ms)
{
	struct mono until = mono_after_ms(clock_mono(), ms);

	while (g->changes < changes && clock_mono().ns < until.ns)
		loop_turn(g->loop, 50);
	return g->changes >= changes;
}

static void test_a_written_renamed_or_removed_file_is_a_change(void **state)
{
	struct ground *g = *state;
	struct source_folder folder = { g->folder, 4 };
	struct source_watch *watch;
	char from[256];

	put(g, "a.lua", "1");
	watch = source_watch_create(g->loop, &folder, 1, on_changed, g);
	put(g, "a.lua", "2");
	assert_true(comes_within(g, 1, 400)); /* sooner than polling would tell */
	put(g, "a.lua~", "3");
	snprintf(from, sizeof(from), "%s", path_of(g, "a.lua~"));
	assert_int_equal(rename(from, path_of(g, "a.lua")), 0);
	assert_true(comes_within(g, 2, 5000));
	assert_int_equal(unlink(path_of(g, "a.lua")), 0);
	assert_true(comes_within(g, 3, 5000));
	source_watch_destroy(watch);
}

static void test_files_of_a_new_folder_are_seen(void **state)
{
	struct ground *g = *state;
	struct source_folder folder = { g->folder, 4 };
	struct source_watch *watch =
		source_watch_create(g->loop, &folder, 1, on_changed, g);

	mkdir(path_of(g, "new"), 0755);
	put(g, "new/a.lua", "1");
	assert_true(comes_within(g, 1, 5000));
	g->changes = 0;
	put(g, "new/a.lua", "2");
	assert_true(comes_within(g, 1, 5000));
	source_watch_destroy(watch);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(
			test_a_snapshot_does_not_see_what_happens_to_the_files, setup,
			teardown),
		cmocka_unit_test_setup_teardown(
			test_only_lua_files_within_the_depth_are_read, setup, teardown),
		cmocka_unit_test_setup_teardown(
			test_the_digest_tells_whether_anything_differs, setup, teardown),
		cmocka_unit_test_setup_teardown(
			test_a_chunk_is_found_by_the_end_of_its_path, setup, teardown),
		cmocka_unit_test_setup_teardown(
			test_a_written_renamed_or_removed_file_is_a_change, setup,
			teardown),
		cmocka_unit_test_setup_teardown(test_files_of_a_new_folder_are_seen,
						setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
