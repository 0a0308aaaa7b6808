/* SPDX-License-Identifier: MIT */
#include "base/check.h"
#include "loop/loop.h"
#include "loop/mailbox.h"
#include "loop/worker.h"

#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

static struct chaos no_chaos;
static struct observer no_observer;

/* --- threads ---------------------------------------------------------------------- */

struct seen {
	char name[16];
	bool all_blocked;
};

static void look_around(void *context)
{
	struct seen *seen = context;
	sigset_t mask;

	pthread_getname_np(pthread_self(), seen->name, sizeof(seen->name));
	pthread_sigmask(SIG_SETMASK, NULL, &mask);
	seen->all_blocked = sigismember(&mask, SIGTERM) && sigismember(&mask, SIGINT) &&
			    sigismember(&mask, SIGPIPE);
}

static void a_thread_has_its_name_and_takes_no_signals(void **state)
{
	struct seen seen = { 0 };
	sigset_t mask;

	thread_join(thread_start("fifteen-letters", look_around, &seen));
	assert_string_equal(seen.name, "fifteen-letters");
	assert_true(seen.all_blocked);
	pthread_sigmask(SIG_SETMASK, NULL, &mask);
	assert_false(sigismember(&mask, SIGTERM)); /* ours are as they were */
	thread_join(NULL);
}

/* --- mailboxes -------------------------------------------------------------------- */

enum { SENDERS = 4, MESSAGES = 5000 };

struct message {
	struct list member;
	int sender;
	int number;
};

struct sender {
	struct mailbox *mailbox;
	int index;
};

static void sender_main(void *context)
{
	struct sender *sender = context;

	for (int i = 0; i < MESSAGES; i++) {
		struct message *message = mem_zeroed(1, sizeof(*message));

		message->sender = sender->index;
		message->number = i;
		mailbox_send(sender->mailbox, &message->member);
	}
}

static void a_mailbox_loses_nothing_and_keeps_each_senders_order(void **state)
{
	struct mailbox *mailbox = mailbox_create();
	struct thread *threads[SENDERS];
	struct sender senders[SENDERS];
	int next[SENDERS] = { 0 }, total = 0;
	struct list taken;

	list_init(&taken);
	for (int i = 0; i < SENDERS; i++) {
		senders[i] = (struct sender){ mailbox, i };
		threads[i] = thread_start("sender", sender_main, &senders[i]);
	}
	while (total < SENDERS * MESSAGES) {
		struct pollfd wait = { mailbox_fd(mailbox), POLLIN, 0 };
		struct list *member;

		assert_int_equal(poll(&wait, 1, 5000), 1);
		mailbox_take(mailbox, &taken);
		while ((member = list_take(&taken))) {
			struct message *message = list_of(member, struct message, member);

			assert_int_equal(message->number, next[message->sender]);
			next[message->sender]++;
			total++;
			free(message);
		}
	}
	for (int i = 0; i < SENDERS; i++)
		thread_join(threads[i]);
	mailbox_destroy(mailbox);
}

static void taking_adds_at_the_end_and_clears_the_descriptor(void **state)
{
	struct mailbox *mailbox = mailbox_create();
	struct pollfd wait = { mailbox_fd(mailbox), POLLIN, 0 };
	struct message a = { .number = 1 }, b = { .number = 2 };
	struct list taken;

	list_init(&taken);
	assert_int_equal(poll(&wait, 1, 0), 0);
	mailbox_send(mailbox, &a.member);
	assert_int_equal(poll(&wait, 1, 0), 1);
	mailbox_take(mailbox, &taken);
	assert_int_equal(poll(&wait, 1, 0), 0);
	mailbox_send(mailbox, &b.member);
	mailbox_take(mailbox, &taken);
	assert_ptr_equal(list_take(&taken), &a.member);
	assert_ptr_equal(list_take(&taken), &b.member);
	assert_null(list_take(&taken));
	mailbox_wake(mailbox);
	assert_int_equal(poll(&wait, 1, 0), 1);
	mailbox_take(mailbox, &taken);
	assert_null(list_take(&taken));
	mailbox_destroy(mailbox);
	mailbox_destroy(NULL);
}

/* The receiver frees the mailbox as soon as it has the message: the sender may not touch
 * it then. */
static void send_one(void *context)
{
	struct message *message = mem_zeroed(1, sizeof(*message));

	mailbox_send(context, &message->member);
}

static void a_mailbox_may_be_destroyed_once_its_message_is_taken(void **state)
{
	for (int i = 0; i < 200; i++) {
		struct mailbox *mailbox = mailbox_create();
		struct thread *thread = thread_start("sender", send_one, mailbox);
		struct pollfd wait = { mailbox_fd(mailbox), POLLIN, 0 };
		struct list taken, *member;

		list_init(&taken);
		assert_int_equal(poll(&wait, 1, 5000), 1);
		do
			mailbox_take(mailbox, &taken);
		while (!(member = list_take(&taken)));
		mailbox_destroy(mailbox);
		free(list_of(member, struct message, member));
		thread_join(thread);
	}
}

/* --- helpers ---------------------------------------------------------------------- */

struct job {
	struct loop *loop;
	pthread_t worked_on;
	sem_t *gate; /* waited for by work; NULL: no */
	_Atomic int *running;
	_Atomic int *most;
	int *left;
	int done;
};

static void job_work(void *context)
{
	struct job *job = context;
	int running = ++*job->running;

	job->worked_on = pthread_self();
	for (int most = *job->most; running > most;)
		if (atomic_compare_exchange_weak(job->most, &most, running))
			break;
	while (job->gate && sem_wait(job->gate) != 0)
		;
	--*job->running;
}

static void job_done(void *context)
{
	struct job *job = context;

	job->done++;
	if (--*job->left == 0)
		loop_stop(job->loop);
}

static void helpers_work_elsewhere_and_say_so_here(void **state)
{
	enum { JOBS = 40 };
	struct loop *loop = loop_create(&no_observer, &no_chaos);
	struct helper *helper = helper_create(3, JOBS);
	static struct job jobs[JOBS];
	_Atomic int running = 0, most = 0;
	int left = JOBS;
	struct fault why;

	for (int i = 0; i < JOBS; i++) {
		jobs[i] = (struct job){ loop, .running = &running, .most = &most,
					.left = &left };
		assert_true(
			helper_submit(helper, loop, job_work, job_done, &jobs[i], &why));
	}
	loop_run(loop);
	for (int i = 0; i < JOBS; i++) {
		assert_int_equal(jobs[i].done, 1);
		assert_false(pthread_equal(jobs[i].worked_on, pthread_self()));
	}
	assert_true(most <= 3);
	helper_destroy(helper);
	loop_destroy(loop);
}

static void a_full_queue_is_a_limit_and_what_waits_is_dropped_at_the_end(void **state)
{
	enum { JOBS = 6 };
	struct loop *loop = loop_create(&no_observer, &no_chaos);
	struct helper *helper = helper_create(2, 3);
	_Atomic int running = 0, most = 0;
	int left = JOBS + 1, taken = 0;
	struct job jobs[JOBS];
	struct fault why = { 0 };
	sem_t gate;

	sem_init(&gate, 0, 0);
	for (int i = 0; i < JOBS; i++) {
		jobs[i] = (struct job){ loop, .gate = &gate, .running = &running,
					.most = &most, .left = &left };
		if (i == 2) /* both threads have taken theirs */
			for (int tries = 0; running < 2 && tries < 1000; tries++)
				poll(NULL, 0, 5);
		taken += helper_submit(helper, loop, job_work, job_done, &jobs[i], &why);
	}
	assert_int_equal(taken, 5); /* two at work, three waiting */
	assert_int_equal(why.kind, FAULT_limit);
	assert_int_equal(fault_status(&why), 503); /* nobody's quota: our own capacity */
	sem_post(&gate);
	sem_post(&gate);
	while (left > JOBS - 1) /* two are done */
		loop_turn(loop, 1000);
	for (int i = 0; i < 3; i++) /* for as many of the rest as come to work still */
		sem_post(&gate);
	helper_destroy(helper);
	helper_destroy(NULL);
	loop_destroy(loop); /* tells of those that were finished */
	assert_int_equal(jobs[5].done, 0);
	sem_destroy(&gate);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_thread_has_its_name_and_takes_no_signals),
		cmocka_unit_test(a_mailbox_loses_nothing_and_keeps_each_senders_order),
		cmocka_unit_test(taking_adds_at_the_end_and_clears_the_descriptor),
		cmocka_unit_test(a_mailbox_may_be_destroyed_once_its_message_is_taken),
		cmocka_unit_test(helpers_work_elsewhere_and_say_so_here),
		cmocka_unit_test(
			a_full_queue_is_a_limit_and_what_waits_is_dropped_at_the_end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
