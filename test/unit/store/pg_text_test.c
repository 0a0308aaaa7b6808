/* SPDX-License-Identifier: MIT */
#include "store/pg_text.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

static void assert_summary(const char *sql, const char *expected)
{
	char memory[PG_SUMMARY_SIZE], text[PG_SUMMARY_SIZE + 1];
	struct slice summary = pg_text_summary(slice_text(sql), memory);

	memcpy(text, summary.at, summary.size);
	text[summary.size] = '\0';
	assert_string_equal(text, expected);
}

static void a_summary_names_the_verb_and_the_tables(void **state)
{
	assert_summary("select * from orders where id = $1", "SELECT orders");
	assert_summary("SELECT 1", "SELECT");
	assert_summary(
		"insert into orders.items (a) values ($1) on conflict (a) do update set "
		"a = 1",
		"INSERT orders.items");
	assert_summary("update stock set n = 1 where sku in (select sku from lines)",
		       "UPDATE stock lines");
	assert_summary("delete from only \"Odd Name\" using b", "DELETE \"Odd Name\"");
	assert_summary("select * from a join b using (id) for update of a skip locked",
		       "SELECT a b");
	assert_summary(
		"select * from (select 1 from inner_one) x where a is distinct from $1 "
		"and b",
		"SELECT inner_one");
	assert_summary("with x as (select 1 from t) select * from x", "WITH t x");
	assert_summary("", "OTHER");
}

static void only_what_surely_reads_is_said_to_read(void **state)
{
	static const char *const reading[] = {
		"select 1",
		" \n-- why\n/* a /* b */ */ select 1",
		"(select 1) union (select 2)",
		"show timezone",
		"values (1)",
		"with a as (select 'insert' from t) select 1",
	};
	static const char *const writing[] = {
		"insert into a values (1)",
		"with a as (select E'\\'') insert into b select 1",
		"delete from a",
		"with a as (update b set c = 1 returning *) select 1",
		"call p()",
		"",
		"/* select 1",
		"vacuum",
	};

	for (size_t i = 0; i < sizeof(reading) / sizeof(reading[0]); i++)
		assert_true(pg_text_reads(slice_text(reading[i])));
	for (size_t i = 0; i < sizeof(writing) / sizeof(writing[0]); i++)
		assert_false(pg_text_reads(slice_text(writing[i])));
}

static void what_belongs_to_a_connection_of_ones_own_is_refused(void **state)
{
	static const char *const never[] = { "begin",
					     "start transaction",
					     "COMMIT",
					     "end",
					     "rollback",
					     "abort",
					     "prepare x as select 1",
					     "copy a to stdout",
					     "listen x",
					     "discard all",
					     "set timezone to 'UTC'",
					     "  ",
					     "deallocate all" };
	static const char *const inside[] = {
		"savepoint a",	     "release a",
		"rollback to a",     "rollback to savepoint a",
		"set local x.y = 1", "set constraints all deferred"
	};

	for (size_t i = 0; i < sizeof(never) / sizeof(never[0]); i++) {
		assert_non_null(pg_text_refuse(slice_text(never[i]), false));
		assert_non_null(pg_text_refuse(slice_text(never[i]), true));
	}
	for (size_t i = 0; i < sizeof(inside) / sizeof(inside[0]); i++) {
		assert_non_null(pg_text_refuse(slice_text(inside[i]), false));
		assert_null(pg_text_refuse(slice_text(inside[i]), true));
	}
	assert_null(pg_text_refuse(SLICE("select 1"), false));
}

/* Any cut of a text with every kind of quote is read without stepping outside of it. */
static void cut_texts_are_survived(void **state)
{
	static const char sql[] =
		"with \"q\"\"\" as (select $a$ x $b$ $a$, E'it\\'s', 'o''k', "
		"$1 from a.b /* c /* d */ */) -- end\n select $2";
	char memory[PG_SUMMARY_SIZE];

	for (size_t size = 0; size < sizeof(sql); size++) {
		char *copy = malloc(size ? size : 1);

		memcpy(copy, sql, size);
		pg_text_summary(slice_of(copy, size), memory);
		pg_text_reads(slice_of(copy, size));
		pg_text_refuse(slice_of(copy, size), true);
		free(copy);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_summary_names_the_verb_and_the_tables),
		cmocka_unit_test(only_what_surely_reads_is_said_to_read),
		cmocka_unit_test(what_belongs_to_a_connection_of_ones_own_is_refused),
		cmocka_unit_test(cut_texts_are_survived),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
