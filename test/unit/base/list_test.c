/* SPDX-License-Identifier: MIT */
/* list_test.c -- intrusive lists keep their order and forgive a second removal. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/list.h"

struct item {
	int number;
	struct list member;
};

static void members_come_out_in_order(void **state)
{
	struct list head;
	struct item items[3] = { { .number = 0 }, { .number = 1 }, { .number = 2 } };

	list_init(&head);
	assert_true(list_empty(&head));
	assert_null(list_take(&head));
	for (int i = 0; i < 3; i++)
		list_append(&head, &items[i].member);
	list_remove(&items[1].member);
	list_remove(&items[1].member);
	assert_int_equal(list_of(list_take(&head), struct item, member)->number, 0);
	assert_int_equal(list_of(list_take(&head), struct item, member)->number, 2);
	assert_true(list_empty(&head));
	assert_true(list_empty(&items[2].member));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(members_come_out_in_order),
	};

	return cmocka_run_group_tests_name("list", tests, NULL, NULL);
}
