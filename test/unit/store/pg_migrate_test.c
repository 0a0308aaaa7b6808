/* SPDX-License-Identifier: MIT */
/* Migrations, against a server of its own. */
#include "store/pg_migrate.h"

#include "loop/worker.h"
#include "pg_server.h"
#include "store/pg_section.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <cmocka.h>

static struct pg_server server;
static struct fault why;

static int start_server(void **state)
{
	pg_server_create(&server);
	pg_server_run(&server, "create role lab_shop login");
	return 0;
}

static int stop_server(void **state)
{
	pg_server_destroy(&server);
	return 0;
}

static void count_up(void *context, const char *service, unsigned version,
		     struct slice name)
{
	++*(int *)context;
}

/* Gives how many sections were applied; -1 with why. */
static int migrate(const char *service, const char *text)
{
	struct pg_section *sections = calloc(PG_SECTIONS_MAX, sizeof(*sections));
	size_t count = 0;
	int applied = 0;
	struct pg_migrate *migrate =
		pg_migrate_open(server.url, count_up, &applied, &why);
	bool well = migrate &&
		    pg_sections_read(slice_text(text), sections, &count, &why) &&
		    pg_migrate_service(migrate, "lab", service, sections, count, &why);

	pg_migrate_close(migrate);
	free(sections);
	return well ? applied : -1;
}

#define FIRST                                                                            \
	"-- migration 1: things\ncreate table things(id int generated always as "        \
	"identity);\n"
#define SECOND                                                                           \
	"-- migration 2: more\ncreate table more(id int); insert into more values "      \
	"(1);\n"

static void sections_are_applied_once_and_in_order(void **state)
{
	assert_int_equal(migrate("shop", FIRST), 1);
	assert_int_equal(migrate("shop", FIRST), 0);
	assert_int_equal(migrate("shop", FIRST SECOND), 1);
	assert_int_equal(migrate("shop", FIRST SECOND), 0);
	assert_string_equal(pg_server_run(&server, "select count(*) from shop.more"),
			    "1");
	assert_string_equal(pg_server_run(&server,
					  "select string_agg(version || name, ',' order "
					  "by version) from orrery.migrations where "
					  "service = 'shop'"),
			    "1things,2more");
}

static void the_role_may_use_its_tables_and_nothing_else(void **state)
{
	assert_string_equal(
		pg_server_run(&server,
			      "select has_table_privilege('lab_shop', 'shop.things', "
			      "'select, insert') and has_table_privilege('lab_shop', "
			      "'shop.more', 'update, delete') and "
			      "has_sequence_privilege('lab_shop', 'shop.things_id_seq', "
			      "'usage') "
			      "and not has_schema_privilege('lab_shop', 'shop', "
			      "'create') and not "
			      "has_table_privilege('lab_shop', 'shop.more', 'truncate') "
			      "and not "
			      "has_schema_privilege('lab_shop', 'orrery', 'usage')"),
		"t");
}

static void an_edited_section_is_refused(void **state)
{
	assert_int_equal(migrate("edited", FIRST), 1);
	assert_int_equal(
		migrate("edited", "-- migration 1: things\ncreate table other();"), -1);
	assert_int_equal(why.kind, FAULT_refused);
	assert_non_null(strstr(why.detail, "migration 1 (things)"));
	assert_int_equal(migrate("edited", "-- nothing left"), -1);
	assert_int_equal(why.kind, FAULT_refused);
}

static void a_failing_section_leaves_nothing_and_names_its_line(void **state)
{
	assert_int_equal(migrate("broken",
				 FIRST "-- migration 2: wrong\n"
				       "create table fine();\n\nselect nonsense;\n"),
			 -1);
	assert_non_null(strstr(why.detail, "migration 2 (wrong): line 6: column"));
	assert_string_equal(pg_server_run(&server, "select count(*) from pg_tables where "
						   "schemaname = 'broken'"),
			    "1");
	assert_int_equal(
		migrate("ending", "-- migration 1: ends\ncreate table a(); commit;"), -1);
	assert_non_null(strstr(why.detail, "ends the transaction"));
}

static void no_server_is_unavailable(void **state)
{
	assert_null(pg_migrate_open("postgresql://127.0.0.1:1/x", count_up, NULL, &why));
	assert_int_equal(why.kind, FAULT_unavailable);
}

static void migrate_too(void *context)
{
	int applied = 0;
	struct pg_section sections[] = {
		{ 1, SLICE("slow"), SLICE("create table slow(); select pg_sleep(0.3)"),
		  1 }
	};
	struct fault failure;
	struct pg_migrate *migrate =
		pg_migrate_open(server.url, count_up, &applied, &failure);

	if (migrate && pg_migrate_service(migrate, "lab", "twice", sections, 1, &failure))
		atomic_fetch_add((atomic_int *)context, 1 + 100 * applied);
	pg_migrate_close(migrate);
}

static void two_at_once_take_turns(void **state)
{
	atomic_int sum = 0;
	struct thread *one = thread_start("one", migrate_too, &sum);
	struct thread *two = thread_start("two", migrate_too, &sum);

	thread_join(one);
	thread_join(two);
	assert_int_equal(sum, 102);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(sections_are_applied_once_and_in_order),
		cmocka_unit_test(the_role_may_use_its_tables_and_nothing_else),
		cmocka_unit_test(an_edited_section_is_refused),
		cmocka_unit_test(a_failing_section_leaves_nothing_and_names_its_line),
		cmocka_unit_test(no_server_is_unavailable),
		cmocka_unit_test(two_at_once_take_turns),
	};

	if (!pg_server_found())
		return 77;
	return cmocka_run_group_tests(tests, start_server, stop_server);
}
