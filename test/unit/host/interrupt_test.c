/* SPDX-License-Identifier: MIT */
/* interrupt_test.c -- Ctrl-C reaches the loop once, and the handler at once. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "host/interrupt.h"
#include "loop/loop.h"
#include "watch/observer.h"

#include <sys/wait.h>
#include <unistd.h>

static struct observer observer;
static struct chaos chaos;
static struct loop *loop;
static struct interrupt interrupt;
static int seen, at_once;

static void on_seen(void *context)
{
	seen++;
}

static void on_signal(void *context)
{
	at_once++;
}

static int begin(void **state)
{
	seen = at_once = 0;
	loop = loop_create(&observer, &chaos);
	interrupt_init(&interrupt, loop, on_seen, NULL);
	interrupt_at_once(&interrupt, on_signal);
	return 0;
}

static int end(void **state)
{
	interrupt_finish(&interrupt);
	loop_destroy(loop);
	return 0;
}

static void one_is_seen_in_the_handler_and_on_the_loop(void **state)
{
	assert_false(interrupt_came(&interrupt));
	raise(SIGINT);
	assert_true(interrupt_came(&interrupt));
	assert_int_equal(at_once, 1);
	assert_int_equal(seen, 0);
	loop_turn(loop, 1000);
	assert_int_equal(seen, 1);
	loop_turn(loop, 0);
	assert_int_equal(seen, 1);
}

static void after_rearming_the_next_one_counts(void **state)
{
	for (int i = 1; i <= 3; i++) {
		raise(SIGINT);
		loop_turn(loop, 1000);
		assert_int_equal(seen, i);
		interrupt_rearm(&interrupt);
		assert_false(interrupt_came(&interrupt));
	}
}

static void a_second_one_ends_the_process(void **state)
{
	pid_t child = fork();
	int status;

	if (child == 0) { /* its thread is another */
		interrupt_finish(&interrupt);
		interrupt_init(&interrupt, loop, on_seen, NULL);
		raise(SIGINT);
		raise(SIGINT);
		_exit(0);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), INTERRUPT_STATUS);
}

static void on_other(int signal)
{
	at_once += 10;
}

static void afterwards_the_signal_is_whose_it_was(void **state)
{
	struct sigaction other = { .sa_handler = on_other }, before;

	interrupt_finish(&interrupt);
	sigaction(SIGINT, &other, &before);
	interrupt_init(&interrupt, loop, on_seen, NULL);
	interrupt_finish(&interrupt);
	raise(SIGINT);
	assert_int_equal(at_once, 10);
	sigaction(SIGINT, &before, NULL);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(
			one_is_seen_in_the_handler_and_on_the_loop, begin, end),
		cmocka_unit_test_setup_teardown(after_rearming_the_next_one_counts, begin,
						end),
		cmocka_unit_test_setup_teardown(a_second_one_ends_the_process, begin,
						end),
		cmocka_unit_test_setup_teardown(afterwards_the_signal_is_whose_it_was,
						begin, end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
