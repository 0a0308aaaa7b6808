/* SPDX-License-Identifier: MIT */
#include "upstream_rig.h"

/* --- answers ---------------------------------------------------------------------- */

static void an_answer_comes_in_pieces_and_its_connection_is_kept(void **state)
{
	struct rig *rig = rig_create(1);

	for (int i = 0; i < 5; i++) {
		struct try try = ask(rig, "/");

		assert_int_equal(try.heads, 1);
		assert_int_equal(try.dones, 1);
		assert_int_equal(try.status, 200);
		assert_string_equal(try.body, "ok");
	}
	assert_int_equal(replica_connections(&rig->replicas[0]), 1);
	assert_int_equal(look(rig).idle, 1);
	assert_int_equal(look(rig).last.attempts, 5);
	rig_destroy(rig);
}

static void who_wants_a_fresh_connection_gets_one(void **state)
{
	struct rig *rig = rig_create(1);
	struct try try;

	assert_true(went_well(rig, "/"));
	try_prepare(&try, rig, "/");
	try.request.fresh = true;
	try_begin(&try);
	until(rig, try_over(&try));
	assert_int_equal(try.dones, 1);
	assert_int_equal(replica_connections(&rig->replicas[0]), 2);
	assert_int_equal(look(rig).idle, 2);
	rig_destroy(rig);
}

static void a_kept_connection_that_was_lost_is_told_as_kept(void **state)
{
	struct rig *rig = rig_create(1);
	struct try try;

	rig->def.breaker.failures = 1;
	rig_use(rig);
	assert_true(went_well(rig, "/once"));
	try = ask(rig, "/once");
	assert_int_equal(try.failures, 1);
	assert_true(try.kept);
	assert_true(try.progress.wrote);
	assert_false(try.progress.answered);
	assert_int_equal(try.why.kind, FAULT_broken);
	assert_int_equal(look(rig).last.breaker, BREAKER_closed);
	assert_true(went_well(rig, "/once"));
	rig_destroy(rig);
}

static void a_kept_connection_that_the_other_side_has_closed_is_not_used(void **state)
{
	struct rig *rig = rig_create(1);

	assert_true(went_well(rig, "/"));
	replica_stop(&rig->replicas[0]);
	replica_start(&rig->replicas[0]);
	/* Without a turn of the loop: nobody has told it yet. */
	assert_true(went_well(rig, "/"));
	rig_destroy(rig);
}

static void nobody_there_and_a_broken_answer_fail_with_their_reason(void **state)
{
	struct rig *rig = rig_create(1);
	struct try try = ask(rig, "/cut");

	assert_int_equal(try.heads, 1);
	assert_int_equal(try.failures, 1);
	assert_true(try.progress.answered);
	assert_int_equal(try.why.kind, FAULT_broken);
	replica_stop(&rig->replicas[0]);
	try = ask(rig, "/");
	assert_int_equal(try.failures, 1);
	assert_false(try.progress.wrote || try.kept);
	assert_int_equal(try.why.kind, FAULT_unavailable);
	assert_int_equal(look(rig).last.failures, 2);
	assert_non_null(strstr(look(rig).trouble, "refused"));
	rig_destroy(rig);
}

static void a_connection_that_does_not_open_in_time_fails(void **state)
{
	struct rig *rig = rig_create(0);
	struct sockaddr_in at = { .sin_family = AF_INET,
				  .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t size = sizeof(at);
	int fd = socket(AF_INET, SOCK_STREAM, 0), filling[4];
	struct try try;

	/* The kernel lets a listener that accepts nobody have very few connections. */
	assert_int_equal(bind(fd, (struct sockaddr *)&at, size), 0);
	assert_int_equal(listen(fd, 0), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&at, &size), 0);
	for (int i = 0; i < 4; i++) {
		filling[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
		connect(filling[i], (struct sockaddr *)&at, size);
	}
	snprintf(rig->addresses, sizeof(rig->addresses), "http://127.0.0.1:%u",
		 ntohs(at.sin_port));
	rig->def.addresses = slice_text(rig->addresses);
	rig->def.connect_timeout_ms = 50;
	rig_use(rig);
	try = ask(rig, "/");
	assert_int_equal(try.failures, 1);
	assert_int_equal(try.why.kind, FAULT_unavailable);
	assert_non_null(strstr(try.why.detail, "no answer in 50 ms"));
	assert_false(try.progress.wrote);
	for (int i = 0; i < 4; i++)
		close(filling[i]);
	close(fd);
	rig_destroy(rig);
}

static void while_it_is_paused_nothing_comes_and_the_sender_waits(void **state)
{
	struct rig *rig = rig_create(1);
	struct try try;
	size_t size;

	try_start(&try, rig, "/endless");
	until(rig, try.size > 100000);
	gate_attempt_pause(&try.attempt, true);
	size = try.size;
	for (int i = 0; i < 20; i++)
		turn(rig);
	assert_int_equal(try.size, size);
	gate_attempt_pause(&try.attempt, false);
	until(rig, try.size > size + 100000);
	gate_attempt_cancel(&try.attempt, false);
	assert_true(try_over(&try));
	until(rig, replica_open(&rig->replicas[0]) == 0);
	assert_int_equal(try.dones + try.failures, 0);
	rig_destroy(rig);
}

static void an_attempt_paused_before_it_is_sent_begins_paused(void **state)
{
	struct rig *rig = rig_create(1);
	struct try try;

	try_start(&try, rig, "/");
	gate_attempt_pause(&try.attempt, true);
	until(rig, atomic_load(&rig->replicas[0].asked) == 1);
	for (int i = 0; i < 10; i++)
		turn(rig);
	assert_int_equal(try.heads, 0);
	gate_attempt_pause(&try.attempt, false);
	until(rig, try.dones == 1);
	assert_true(went_well(rig, "/"));
	assert_int_equal(replica_connections(&rig->replicas[0]), 1);
	rig_destroy(rig);
}

static void another_protocol_goes_both_ways_until_one_closes(void **state)
{
	struct rig *rig = rig_create(1);
	struct try try;

	try_start(&try, rig, "/echo");
	until(rig, try.switches == 1);
	for (int i = 0; i < 10; i++)
		turn(rig);
	assert_int_equal(try.size, 0); /* it begins paused */
	gate_attempt_pause(&try.attempt, false);
	until(rig, try.size == 5);
	gate_attempt_send(&try.attempt, SLICE(" you"));
	until(rig, try.drains == 1 && try.size == 9);
	assert_string_equal(try.body, "hello you");
	gate_attempt_send(&try.attempt, SLICE("bye"));
	until(rig, try.closes == 1);
	assert_int_equal(try.dones + try.failures, 0);
	assert_int_equal(look(rig).active, 0);
	rig_destroy(rig);
}

static void an_attempt_may_end_and_another_begin_inside_its_events(void **state)
{
	static const struct {
		const char *path;
		int cancel;
	} cases[] = { { "/", TRY_head },
		      { "/", TRY_data },
		      { "/endless", TRY_data },
		      { "/echo", TRY_switched } };
	struct rig *rig = rig_create(1);
	struct try first, second, third;

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		try_prepare(&first, rig, cases[i].path);
		first.cancel = cases[i].cancel;
		try_begin(&first);
		until(rig, try_over(&first));
		for (int k = 0; k < 5; k++)
			turn(rig);
		assert_int_equal(first.dones + first.failures + first.closes, 0);
		assert_true(went_well(rig, "/"));
	}
	try_prepare(&third, rig, "/");
	try_prepare(&second, rig, "/cut");
	second.next = &third;
	try_prepare(&first, rig, "/");
	first.next = &second;
	try_begin(&first);
	until(rig, third.dones == 1);
	assert_int_equal(first.dones, 1);
	assert_int_equal(second.failures, 1);
	rig_destroy(rig);
}

/* --- choosing --------------------------------------------------------------------- */

static void round_robin_asks_each_in_turn(void **state)
{
	struct rig *rig = rig_create(3);

	for (int i = 0; i < 30; i++)
		assert_true(went_well(rig, "/"));
	for (int i = 0; i < 3; i++)
		assert_int_equal(atomic_load(&rig->replicas[i].asked), 10);
	rig_destroy(rig);
}

static unsigned asked(struct rig *rig)
{
	unsigned count = 0;

	for (unsigned i = 0; i < rig->replica_count; i++)
		count += atomic_load(&rig->replicas[i].asked);
	return count;
}

static void the_least_busy_is_asked_where_that_is_wanted(void **state)
{
	struct rig *rig = rig_create(3);
	struct try hanging[2];

	rig->def.balance = GATE_least_busy;
	rig_use(rig);
	try_start(&hanging[0], rig, "/hang");
	try_start(&hanging[1], rig, "/hang");
	for (int i = 0; i < 10; i++)
		assert_true(went_well(rig, "/"));
	assert_int_equal(look(rig).active, 2);
	until(rig, asked(rig) == 12);
	for (int i = 0; i < 3; i++)
		assert_true(atomic_load(&rig->replicas[i].asked) == 1 ||
			    atomic_load(&rig->replicas[i].asked) == 10);
	for (int i = 0; i < 3; i++)
		atomic_store(&rig->replicas[i].released, true);
	until(rig, try_over(&hanging[0]) && try_over(&hanging[1]));
	/* Nobody is busy: they take turns. */
	for (int i = 0; i < 9; i++)
		assert_true(went_well(rig, "/"));
	for (int i = 0; i < 3; i++)
		assert_true(atomic_load(&rig->replicas[i].asked) == 4 ||
			    atomic_load(&rig->replicas[i].asked) == 13);
	rig_destroy(rig);
}

static void what_was_tried_is_picked_again_only_when_all_were(void **state)
{
	struct rig *rig = rig_create(3);
	struct gate_upstream *upstream = rig_upstream(rig);
	struct gate_address *tried[3];

	for (unsigned turns = 0; turns < 3; turns++)
		for (unsigned i = 0; i < 3; i++) {
			tried[i] = gate_upstream_pick(upstream, tried, i, NULL);
			for (unsigned k = 0; k < i; k++)
				assert_ptr_not_equal(tried[i], tried[k]);
		}
	assert_non_null(gate_upstream_pick(upstream, tried, 3, NULL));
	rig_destroy(rig);
}

static void an_address_has_no_more_than_connections_max_attempts(void **state)
{
	struct rig *rig = rig_create(2);
	struct try hanging[4], fifth;

	rig->def.connections_max = 2;
	rig_use(rig);
	for (int i = 0; i < 4; i++)
		try_start(&hanging[i], rig, "/hang");
	try_start(&fifth, rig, "/");
	assert_null(fifth.at);
	assert_int_equal(fifth.why.kind, FAULT_limit);
	until(rig, asked(rig) == 4);
	assert_int_equal(fault_status(&fifth.why), 503);
	atomic_store(&rig->replicas[1].released, true);
	until(rig, look(rig).active == 2);
	for (int i = 0; i < 5; i++)
		assert_true(went_well(rig, "/"));
	assert_int_equal(atomic_load(&rig->replicas[0].asked), 2);
	for (int i = 0; i < 4; i++)
		gate_attempt_cancel(&hanging[i].attempt, false);
	rig_destroy(rig);
}

static void an_upstream_without_addresses_is_unavailable(void **state)
{
	struct rig *rig = rig_create(0);
	struct try try;

	try_start(&try, rig, "/");
	assert_null(try.at);
	assert_int_equal(try.why.kind, FAULT_unavailable);
	assert_null(gate_upstream_find(rig->upstreams, SLICE("other")));
	assert_int_equal(look(rig).last.upstream.size, 2);
	assert_int_equal(look(rig).count, 0);
	rig_destroy(rig);
}

/* --- what is kept ----------------------------------------------------------------- */

static void few_connections_rest_and_not_for_long(void **state)
{
	struct rig *rig = rig_create(1);
	struct try hanging[6];

	rig->def.idle_max = 3;
	rig->def.idle_timeout_ms = 100;
	rig_use(rig);
	for (int i = 0; i < 6; i++)
		try_start(&hanging[i], rig, "/hang");
	until(rig, atomic_load(&rig->replicas[0].asked) == 6);
	atomic_store(&rig->replicas[0].released, true);
	for (int i = 0; i < 6; i++)
		until(rig, try_over(&hanging[i]));
	assert_int_equal(look(rig).idle, 3);
	until(rig, look(rig).idle == 0);
	until(rig, replica_open(&rig->replicas[0]) == 0);
	rig_destroy(rig);
}

static void retries_are_earned_by_requests_and_by_time(void **state)
{
	struct rig *rig = rig_create(1);
	struct gate_upstream *upstream = rig_upstream(rig);
	struct mono now = clock_mono();
	struct gate_address *tried;
	unsigned made = 0;

	clock_set(&now, NULL);
	turn(rig);
	while (gate_upstream_may_retry(upstream))
		made++;
	assert_int_equal(made, 10 * 10 + 20);
	for (int i = 0; i < 50; i++)
		tried = gate_upstream_pick(upstream, NULL, 0, NULL);
	for (int i = 0; i < 50; i++) /* a retry earns nothing */
		gate_upstream_pick(upstream, &tried, 1, NULL);
	for (made = 0; gate_upstream_may_retry(upstream);)
		made++;
	assert_in_range(made, 9, 10); /* 50 * 0.2, but for roundings */
	now = mono_after_ms(now, 1001);
	clock_set(&now, NULL);
	turn(rig);
	for (made = 0; gate_upstream_may_retry(upstream);)
		made++;
	assert_in_range(made, 10, 11); /* per_s */
	rig->def.retry.ratio = rig->def.retry.per_s = 0;
	rig_use(rig);
	now = mono_after_ms(now, 100000);
	clock_set(&now, NULL);
	turn(rig);
	assert_false(gate_upstream_may_retry(upstream));
	clock_set(NULL, NULL);
	rig_destroy(rig);
}

static void the_end_of_upstreams_fails_what_is_under_way(void **state)
{
	struct rig *rig = rig_create(2);
	struct try tries[5];

	try_start(&tries[0], rig, "/hang");
	try_start(&tries[1], rig, "/echo");
	try_start(&tries[2], rig, "/endless");
	until(rig, tries[1].switches == 1 && tries[2].pieces > 0);
	assert_true(went_well(rig, "/")); /* and one rests */
	try_start(&tries[3], rig, "/"); /* on that, or connecting */
	try_start(&tries[4], rig, "/");
	/* From inside the event nothing new can be begun. */
	tries[0].next = tries[1].next = mem_zeroed(1, sizeof(struct try));
	try_prepare(tries[0].next, rig, "/");
	gate_upstreams_destroy(rig->upstreams);
	for (int i = 0; i < 5; i++) {
		assert_int_equal(tries[i].failures, 1);
		assert_int_equal(tries[i].why.kind, FAULT_cancelled);
	}
	assert_null(tries[0].next->at);
	free(tries[0].next);
	rig->upstreams = NULL;
	rig_destroy(rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_answer_comes_in_pieces_and_its_connection_is_kept),
		cmocka_unit_test(who_wants_a_fresh_connection_gets_one),
		cmocka_unit_test(a_kept_connection_that_was_lost_is_told_as_kept),
		cmocka_unit_test(
			a_kept_connection_that_the_other_side_has_closed_is_not_used),
		cmocka_unit_test(nobody_there_and_a_broken_answer_fail_with_their_reason),
		cmocka_unit_test(a_connection_that_does_not_open_in_time_fails),
		cmocka_unit_test(while_it_is_paused_nothing_comes_and_the_sender_waits),
		cmocka_unit_test(an_attempt_paused_before_it_is_sent_begins_paused),
		cmocka_unit_test(another_protocol_goes_both_ways_until_one_closes),
		cmocka_unit_test(an_attempt_may_end_and_another_begin_inside_its_events),
		cmocka_unit_test(round_robin_asks_each_in_turn),
		cmocka_unit_test(the_least_busy_is_asked_where_that_is_wanted),
		cmocka_unit_test(what_was_tried_is_picked_again_only_when_all_were),
		cmocka_unit_test(an_address_has_no_more_than_connections_max_attempts),
		cmocka_unit_test(an_upstream_without_addresses_is_unavailable),
		cmocka_unit_test(few_connections_rest_and_not_for_long),
		cmocka_unit_test(retries_are_earned_by_requests_and_by_time),
		cmocka_unit_test(the_end_of_upstreams_fails_what_is_under_way),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
