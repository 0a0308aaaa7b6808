/* SPDX-License-Identifier: MIT */
#include "base/check.h"
#include "base/random.h"
#include "loop/loop.h"
#include "loop/timer_heap.h"
#include "loop/worker.h"
#include "watch/metrics.h"

#include <dirent.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

static struct chaos no_chaos;
static struct observer no_observer;

static struct loop *loop_plain(void)
{
	return loop_create(&no_observer, &no_chaos);
}

static void count(void *context)
{
	(*(int *)context)++;
}

static int open_fds(void)
{
	DIR *folder = opendir("/proc/self/fd");
	int found = 0;

	while (readdir(folder))
		found++;
	closedir(folder);
	return found;
}

/* --- timers ----------------------------------------------------------------------- */

struct note {
	struct timer timer;
	int *next;
	int order;
	struct loop *loop;
};

static void note_fire(void *context)
{
	struct note *note = context;

	assert_false(timer_started(&note->timer));
	note->order = (*note->next)++;
}

static void timers_fire_in_order_of_their_due_and_not_before(void **state)
{
	struct loop *loop = loop_plain();
	struct mono start = clock_mono();
	int next = 1;
	struct note notes[3] = { { .next = &next },
				 { .next = &next },
				 { .next = &next } };
	static const int due_ms[3] = { 30, 5, 15 };

	for (int i = 0; i < 3; i++)
		timer_start(loop, &notes[i].timer, mono_after_ms(start, due_ms[i]),
			    note_fire, &notes[i]);
	while (next <= 3)
		loop_turn(loop, 1000);
	assert_true(mono_seconds(start, clock_mono()) >= 0.030);
	assert_int_equal(notes[1].order, 1);
	assert_int_equal(notes[2].order, 2);
	assert_int_equal(notes[0].order, 3);
	loop_destroy(loop);
}

static void starting_a_started_timer_moves_it_and_stopping_is_final(void **state)
{
	struct loop *loop = loop_plain();
	struct mono start = clock_mono();
	struct timer moved = { 0 }, stopped = { 0 };
	int fired = 0, never = 0;

	timer_start(loop, &moved, mono_after_ms(start, 60000), count, &fired);
	timer_start(loop, &moved, mono_after_ms(start, 3), count, &fired);
	timer_start(loop, &stopped, mono_after_ms(start, 1), count, &never);
	timer_stop(loop, &stopped);
	timer_stop(loop, &stopped);
	while (!fired)
		loop_turn(loop, 1000);
	assert_int_equal(fired, 1);
	assert_int_equal(never, 0);
	loop_destroy(loop);
}

struct again {
	struct timer timer;
	struct loop *loop;
	int fired;
};

static void again_fire(void *context)
{
	struct again *again = context;

	again->fired++;
	timer_start(again->loop, &again->timer, loop_now(again->loop), again_fire, again);
}

static void a_timer_that_starts_itself_due_does_not_hold_the_loop(void **state)
{
	struct again again = { .loop = loop_plain() };

	timer_start(again.loop, &again.timer, clock_mono(), again_fire, &again);
	loop_turn(again.loop, 0);
	assert_int_equal(again.fired, 1);
	loop_turn(again.loop, 1000);
	assert_int_equal(again.fired, 2);
	loop_destroy(again.loop);
}

static void a_random_walk_keeps_the_heap_in_order(void **state)
{
	enum { TIMERS = 200, STEPS = 20000 };
	static struct timer timers[TIMERS];
	struct timer_heap heap = { 0 };
	struct random random;

	random_init(&random, 7);
	for (int step = 0; step < STEPS; step++) {
		struct timer *timer = &timers[random_below(&random, TIMERS)];

		if (random_below(&random, 3) == 0) {
			timer_heap_remove(&heap, timer);
			assert_false(timer_started(timer));
		} else {
			timer->due.ns = (int64_t)random_below(&random, 1000);
			timer_heap_put(&heap, timer);
			assert_true(timer_started(timer));
		}
		timer_heap_check(&heap);
	}
	for (int64_t last = 0; heap.count;) {
		struct timer *first = timer_heap_first(&heap);

		assert_true(first->due.ns >= last);
		last = first->due.ns;
		timer_heap_remove(&heap, first);
		timer_heap_check(&heap);
	}
	timer_heap_finish(&heap);
}

/* --- deferred calls and ticks ----------------------------------------------------- */

struct deferral {
	struct deferred deferred;
	struct loop *loop;
	int calls;
	int more;
};

static void deferral_run(void *context)
{
	struct deferral *deferral = context;

	deferral->calls++;
	if (deferral->more-- > 0)
		loop_defer(deferral->loop, &deferral->deferred, deferral_run, deferral);
}

static void deferred_calls_run_in_the_turn_until_none_is_left(void **state)
{
	struct deferral deferral = { .loop = loop_plain(), .more = 3 };
	struct deferral dropped = { .loop = deferral.loop };

	loop_undefer(&dropped.deferred); /* a zeroed one is no harm */
	loop_defer(deferral.loop, &deferral.deferred, deferral_run, &deferral);
	loop_defer(deferral.loop, &deferral.deferred, deferral_run, &deferral);
	loop_defer(deferral.loop, &dropped.deferred, deferral_run, &dropped);
	assert_int_equal(deferral.calls, 0);
	loop_undefer(&dropped.deferred);
	loop_turn(deferral.loop, 10000);
	assert_int_equal(deferral.calls, 4);
	assert_int_equal(dropped.calls, 0);
	loop_destroy(deferral.loop);
}

struct hook {
	struct tick tick;
	struct hook *removes;
	int calls;
};

static void hook_run(void *context)
{
	struct hook *hook = context;

	hook->calls++;
	if (hook->removes)
		loop_tick_remove(&hook->removes->tick);
}

static void ticks_run_once_a_turn_and_may_remove_each_other(void **state)
{
	struct loop *loop = loop_plain();
	struct hook a = { 0 }, b = { 0 }, c = { 0 };

	loop_tick_remove(&a.tick); /* a zeroed one is no harm */
	a.removes = &b;
	c.removes = &c;
	loop_tick_add(loop, &a.tick, hook_run, &a);
	loop_tick_add(loop, &b.tick, hook_run, &b);
	loop_tick_add(loop, &c.tick, hook_run, &c);
	loop_turn(loop, 0);
	loop_turn(loop, 0);
	assert_int_equal(a.calls, 2);
	assert_int_equal(b.calls, 0);
	assert_int_equal(c.calls, 1);
	loop_tick_remove(&a.tick);
	loop_turn(loop, 0);
	assert_int_equal(a.calls, 2);
	loop_destroy(loop);
}

/* --- descriptors ------------------------------------------------------------------ */

struct watched {
	struct loop_fd *watch;
	int fd;
	int readable;
	int writable;
	bool destroy;
};

static void watched_ready(void *context, bool readable, bool writable)
{
	struct watched *watched = context;
	char bytes[16];

	watched->readable += readable;
	watched->writable += writable;
	if (readable)
		assert_true(read(watched->fd, bytes, 1) >= 0);
	if (watched->destroy) {
		loop_fd_destroy(watched->watch);
		watched->watch = NULL;
	}
}

static void a_descriptor_is_level_triggered_and_stays_the_callers(void **state)
{
	struct loop *loop = loop_plain();
	struct watched watched = { 0 };
	int pair[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair), 0);
	watched.fd = pair[0];
	watched.watch = loop_fd_create(loop, pair[0], watched_ready, &watched);
	assert_int_equal(write(pair[1], "abc", 3), 3);
	loop_turn(loop, 0);
	assert_int_equal(watched.readable, 0); /* nothing was wanted */
	loop_fd_want(watched.watch, true, false);
	for (int i = 1; i <= 3; i++) {
		loop_turn(loop, 1000);
		assert_int_equal(watched.readable, i);
	}
	loop_turn(loop, 0);
	assert_int_equal(watched.readable, 3);
	assert_int_equal(watched.writable, 0);

	loop_fd_want(watched.watch, true, true);
	loop_fd_want(watched.watch, true, true);
	loop_turn(loop, 1000);
	loop_turn(loop, 1000);
	assert_int_equal(watched.writable, 2);
	loop_fd_want(watched.watch, true, false);
	loop_turn(loop, 0);
	assert_int_equal(watched.writable, 2);
	loop_fd_want(watched.watch, false, true);
	loop_turn(loop, 1000);
	assert_int_equal(watched.writable, 3);

	loop_fd_destroy(watched.watch);
	loop_turn(loop, 0);
	assert_int_equal(write(pair[0], "x", 1), 1); /* still open */
	close(pair[0]);
	close(pair[1]);
	loop_destroy(loop);
}

static void a_watch_may_be_destroyed_from_inside_its_call(void **state)
{
	struct loop *loop = loop_plain();
	struct watched watched = { .destroy = true };
	int pair[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair), 0);
	for (int both = 0; both < 2; both++) {
		watched.fd = pair[0];
		watched.watch = loop_fd_create(loop, pair[0], watched_ready, &watched);
		loop_fd_want(watched.watch, true, both);
		assert_int_equal(write(pair[1], "abc", 3), 3);
		loop_turn(loop, 1000);
		loop_turn(loop, 0);
		assert_null(watched.watch);
		assert_int_equal(watched.readable + watched.writable, both + 1);
	}
	close(pair[0]);
	close(pair[1]);
	loop_destroy(loop);
}

static void the_other_sides_end_is_reported_to_a_reader(void **state)
{
	struct loop *loop = loop_plain();
	struct watched watched = { 0 };
	int pair[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair), 0);
	watched.fd = pair[0];
	watched.watch = loop_fd_create(loop, pair[0], watched_ready, &watched);
	loop_fd_want(watched.watch, true, false);
	close(pair[1]);
	loop_turn(loop, 1000);
	assert_int_equal(watched.readable, 1);
	loop_fd_destroy(watched.watch);
	close(pair[0]);
	loop_destroy(loop);
}

/* --- threads, mail, stopping ------------------------------------------------------ */

enum { SENDERS = 4, LETTERS = 2000 };

struct sender {
	struct loop *loop;
	struct letter {
		struct mail mail;
		struct sender *sender;
		int number;
	} letters[LETTERS];
	int expected;
	int *total;
};

static void letter_arrives(void *context)
{
	struct letter *letter = context;
	struct sender *sender = letter->sender;

	assert_int_equal(letter->number, sender->expected);
	sender->expected++;
	if (++*sender->total == SENDERS * LETTERS)
		loop_stop(sender->loop);
}

static void sender_main(void *context)
{
	struct sender *sender = context;

	for (int i = 0; i < LETTERS; i++) {
		sender->letters[i].sender = sender;
		sender->letters[i].number = i;
		loop_post(sender->loop, &sender->letters[i].mail, letter_arrives,
			  &sender->letters[i]);
	}
}

static void mail_of_many_threads_arrives_each_in_its_order(void **state)
{
	struct loop *loop = loop_plain();
	struct thread *threads[SENDERS];
	struct sender *senders = mem_zeroed(SENDERS, sizeof(*senders));
	int total = 0;

	for (int i = 0; i < SENDERS; i++) {
		senders[i].loop = loop;
		senders[i].total = &total;
		threads[i] = thread_start("sender", sender_main, &senders[i]);
	}
	loop_run(loop);
	assert_int_equal(total, SENDERS * LETTERS);
	for (int i = 0; i < SENDERS; i++)
		thread_join(threads[i]);
	free(senders);
	loop_destroy(loop);
}

static void loop_main(void *context)
{
	loop_run(context);
}

static void a_loop_is_stopped_from_another_thread_also_before_it_runs(void **state)
{
	struct loop *loop = loop_plain();
	struct thread *thread = thread_start("loop", loop_main, loop);

	loop_stop(loop);
	thread_join(thread);
	loop_stop(loop);
	loop_run(loop);
	loop_destroy(loop);
}

static void mail_that_has_come_is_delivered_before_a_loop_dies(void **state)
{
	struct loop *loop = loop_plain();
	struct mail mail;
	int delivered = 0;

	loop_post(loop, &mail, count, &delivered);
	loop_destroy(loop);
	assert_int_equal(delivered, 1);
}

static void on_alarm(int number)
{
}

static void a_signal_does_not_disturb_the_loop(void **state)
{
	struct loop *loop = loop_plain();
	struct timer timer = { 0 };
	struct sigaction action = { .sa_handler = on_alarm };
	int fired = 0;

	sigaction(SIGUSR1, &action, NULL);
	timer_start(loop, &timer, mono_after_ms(clock_mono(), 20), count, &fired);
	raise(SIGUSR1);
	pthread_kill(pthread_self(), SIGUSR1);
	while (!fired)
		loop_turn(loop, 1000);
	loop_destroy(loop);
}

static void a_loop_leaves_only_the_descriptor_behind_that_h2o_forgets(void **state)
{
	enum { LOOPS = 3 };
	int before = open_fds();

	for (int i = 0; i < LOOPS; i++) {
		struct loop *loop = loop_plain();

		loop_turn(loop, 0);
		loop_destroy(loop);
	}
	assert_true(open_fds() <= before + LOOPS);
}

static void point_sum(void *context, const struct metric_def *def,
		      const struct metric_point *point)
{
	double *sums = context;

	if (slice_equal(def->name, SLICE("eventloop_time_seconds_total")))
		sums[slice_equal(point->values[0], SLICE("idle"))] += point->value;
	if (slice_equal(def->name, SLICE("eventloop_lag_seconds")))
		sums[2] += (double)point->count;
}

static void point_ignore(void *context, const struct metric_def *def,
			 size_t count_of_points)
{
}

static void busy(void *context)
{
	struct mono start = loop_now(context), now;

	do {
		now = clock_mono();
	} while (now.ns - start.ns < 20000000);
}

static void time_is_told_apart_as_idle_and_active_and_lateness_is_sampled(void **state)
{
	struct metrics *metrics = metrics_create();
	struct observer observer = { .meter = meter_create(metrics) };
	struct loop *loop = loop_create(&observer, &no_chaos);
	struct mono start = clock_mono();
	struct timer timer = { 0 };
	double sums[3] = { 0 };
	struct metrics_reader reader = { point_ignore, point_sum, sums };

	timer_start(loop, &timer, mono_after_ms(start, 30), busy, loop);
	while (mono_seconds(start, clock_mono()) < 1.05)
		loop_turn(loop, 100);
	loop_destroy(loop);
	metrics_read(metrics, &reader);
	assert_true(sums[0] >= 0.02 && sums[1] > 0.5);
	assert_true(sums[0] + sums[1] >= 1.0);
	assert_true(sums[2] >= 1);
	metrics_destroy(metrics);
}

static void a_guest_is_found_by_its_id_until_it_leaves(void **state)
{
	struct loop *loop = loop_plain();
	struct guest first = { 0 }, second = { 0 };
	uint64_t gone;

	loop_guest_remove(&first); /* never added */
	loop_guest_add(loop, &first);
	loop_guest_add(loop, &second);
	loop_turn(loop, 0);
	assert_ptr_equal(loop_guest(loop, first.id), &first);
	assert_ptr_equal(loop_guest(loop, second.id), &second);
	gone = first.id;
	loop_guest_remove(&first);
	loop_guest_add(loop, &first);
	assert_null(loop_guest(loop, gone));
	assert_ptr_equal(loop_guest(loop, first.id), &first);
	loop_guest_remove(&first);
	loop_guest_remove(&second);
	loop_destroy(loop);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(timers_fire_in_order_of_their_due_and_not_before),
		cmocka_unit_test(starting_a_started_timer_moves_it_and_stopping_is_final),
		cmocka_unit_test(a_timer_that_starts_itself_due_does_not_hold_the_loop),
		cmocka_unit_test(a_random_walk_keeps_the_heap_in_order),
		cmocka_unit_test(deferred_calls_run_in_the_turn_until_none_is_left),
		cmocka_unit_test(a_guest_is_found_by_its_id_until_it_leaves),
		cmocka_unit_test(ticks_run_once_a_turn_and_may_remove_each_other),
		cmocka_unit_test(a_descriptor_is_level_triggered_and_stays_the_callers),
		cmocka_unit_test(a_watch_may_be_destroyed_from_inside_its_call),
		cmocka_unit_test(the_other_sides_end_is_reported_to_a_reader),
		cmocka_unit_test(mail_of_many_threads_arrives_each_in_its_order),
		cmocka_unit_test(
			a_loop_is_stopped_from_another_thread_also_before_it_runs),
		cmocka_unit_test(mail_that_has_come_is_delivered_before_a_loop_dies),
		cmocka_unit_test(a_signal_does_not_disturb_the_loop),
		cmocka_unit_test(
			a_loop_leaves_only_the_descriptor_behind_that_h2o_forgets),
		cmocka_unit_test(
			time_is_told_apart_as_idle_and_active_and_lateness_is_sampled),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
