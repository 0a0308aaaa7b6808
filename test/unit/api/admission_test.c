/* SPDX-License-Identifier: MIT */
#include "api/admission.h"

#include "base/random.h"
#include "watch/metrics.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#define CLIENTS 12
#define COUNT_MAX 8

struct client {
	struct admission_wait wait;
	bool waits;
	bool late;
	unsigned ticket; /* order of arrival */
};

static struct metrics *metrics;
static struct observer observer;
static struct chaos chaos;
static struct loop *loop;
static struct admission admission;
static struct client clients[CLIENTS];
static unsigned places; /* that look gives away */
static unsigned looks, tickets, served;

static struct client *client_of(struct admission_wait *wait)
{
	return list_of(wait, struct client, wait);
}

static void leave(struct client *client)
{
	client->waits = false;
	admission_leave(&admission, &client->wait);
}

static void on_late(void *context)
{
	struct client *client = context;

	client->late = true;
	leave(client);
}

static void look(void *context)
{
	struct admission_wait *first;

	looks++;
	while (places && (first = admission_first(&admission))) {
		struct client *client = client_of(first);

		for (size_t i = 0; i < CLIENTS; i++)
			if (clients[i].waits)
				assert_true(clients[i].ticket >= client->ticket);
		leave(client);
		served++;
		places--;
	}
}

static void join(struct client *client, int timeout_ms)
{
	client->waits = true;
	client->late = false;
	client->ticket = tickets++;
	admission_join(&admission, &client->wait,
		       mono_after_ms(loop_now(loop), timeout_ms), on_late, client);
}

static int open_line(void **state)
{
	metrics = metrics_create();
	observer.meter = meter_create(metrics);
	loop = loop_create(&observer, &chaos);
	memset(clients, 0, sizeof(clients));
	places = looks = tickets = served = 0;
	admission_init(&admission, loop, COUNT_MAX,
		       meter_own(observer.meter, METRIC_tasks_waiting, 0), look, NULL);
	return 0;
}

static int close_line(void **state)
{
	loop_destroy(loop);
	metrics_destroy(metrics);
	return 0;
}

static void the_first_that_came_is_the_first(void **state)
{
	for (size_t i = 0; i < 3; i++)
		join(&clients[i], 10000);
	places = 2;
	admission_soon(&admission);
	assert_int_equal(served, 0);
	loop_turn(loop, 0);
	assert_int_equal(served, 2);
	assert_ptr_equal(admission_first(&admission), &clients[2].wait);
	leave(&clients[2]);
	assert_null(admission_first(&admission));
	admission_check(&admission);
}

static void it_looks_by_itself_while_anybody_waits(void **state)
{
	join(&clients[0], 10000);
	for (int turns = 0; turns < 500 && looks < 3; turns++)
		loop_turn(loop, 10);
	assert_true(looks >= 3);
	leave(&clients[0]);
	looks = 0;
	admission_soon(&admission);
	for (int turns = 0; turns < 3; turns++)
		loop_turn(loop, ADMISSION_LOOK_MS);
	assert_int_equal(looks, 0);
}

static void who_is_late_is_told(void **state)
{
	join(&clients[0], 10000);
	join(&clients[1], 5);
	for (int turns = 0; turns < 500 && !clients[1].late; turns++)
		loop_turn(loop, 10);
	assert_true(clients[1].late);
	assert_false(clients[0].late);
	assert_int_equal(admission.count, 1);
	leave(&clients[0]);
}

static void a_random_walk_keeps_the_line_whole(void **state)
{
	struct random random;

	random_init(&random, 11);
	for (int step = 0; step < 4000; step++) {
		struct client *client = &clients[random_below(&random, CLIENTS)];

		switch (random_below(&random, 4)) {
		case 0:
			if (client->waits)
				leave(client);
			break;
		case 1:
			places += (unsigned)random_below(&random, 2);
			admission_soon(&admission);
			break;
		case 2:
			loop_turn(loop, 0);
			break;
		default:
			if (!client->waits && !admission_full(&admission))
				join(client, (int)random_below(&random, 3));
		}
		admission_check(&admission);
		assert_true(admission.count <= COUNT_MAX);
	}
	assert_true(served > 100);
	for (size_t i = 0; i < CLIENTS; i++)
		if (clients[i].waits)
			leave(&clients[i]);
	admission_check(&admission);
}

int main(void)
{
#define CLAIM(name) cmocka_unit_test_setup_teardown(name, open_line, close_line)
	const struct CMUnitTest claims[] = {
		CLAIM(the_first_that_came_is_the_first),
		CLAIM(it_looks_by_itself_while_anybody_waits),
		CLAIM(who_is_late_is_told),
		CLAIM(a_random_walk_keeps_the_line_whole),
	};

	return cmocka_run_group_tests(claims, NULL, NULL);
}
