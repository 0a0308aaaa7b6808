/* SPDX-License-Identifier: MIT */
/* The wait is h2o's; what surrounds it is ours. h2o gives no moment between the end of
 * the wait and the first callback, so the clock is read when the first callback of a turn
 * asks for it: what lies before counts as idle, which is wrong by the parsing of one
 * request at most. */
#include "loop/loop.h"
#include "base/check.h"
#include "loop/loop_fd.h"
#include "loop/mailbox.h"
#include "loop/timer_heap.h"
#include "watch/metrics.h"

#include <h2o.h>

#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

#define WAIT_MAX_MS (60 * 60 * 1000)
#define HEARTBEAT_MS 1000

struct loop {
	h2o_evloop_t *h2o;
	const struct observer *observer;
	struct chaos *chaos;
	uint64_t turns;
	struct mono now;
	bool now_known; /* in this turn */
	struct mono turn_ended;
	struct timer_heap timers;
	struct list deferred;
	struct list ticks;
	struct list guests; /* the newest first: they are asked for most */
	uint64_t guest_ids; /* given so far */
	struct mailbox *mailbox;
	struct loop_fd *mail_fd;
	_Atomic bool stopping;
	unsigned fds;
	struct timer heartbeat; /* its lateness is the loop's lag */
	struct series *active; /* these three NULL without a meter */
	struct series *idle;
	struct series *lag;
};

/* --- life ------------------------------------------------------------------------- */

/* False when there was none. */
static bool loop_deliver(struct loop *loop)
{
	struct list mails, *member;
	bool any = false;

	list_init(&mails);
	mailbox_take(loop->mailbox, &mails);
	while ((member = list_take(&mails))) {
		struct mail *mail = list_of(member, struct mail, member);

		mail->fn(mail->context);
		any = true;
	}
	return any;
}

static void loop_mail_ready(void *context, bool readable, bool writable)
{
	loop_deliver(context);
}

static void loop_heartbeat(void *context)
{
	struct loop *loop = context;

	series_observe(loop->lag, mono_seconds(loop->heartbeat.due, loop_now(loop)));
	timer_start(loop, &loop->heartbeat, mono_after_ms(loop_now(loop), HEARTBEAT_MS),
		    loop_heartbeat, loop);
}

struct loop *loop_create(const struct observer *observer, struct chaos *chaos)
{
	struct loop *loop = mem_zeroed(1, sizeof(*loop));

	loop->observer = observer;
	loop->chaos = chaos;
	loop->h2o = h2o_evloop_create();
	list_init(&loop->deferred);
	list_init(&loop->ticks);
	list_init(&loop->guests);
	loop->now = loop->turn_ended = clock_mono();
	loop->mailbox = mailbox_create();
	loop->mail_fd =
		loop_fd_create(loop, mailbox_fd(loop->mailbox), loop_mail_ready, loop);
	loop_fd_want(loop->mail_fd, true, false);
	if (observer && observer->meter) {
		loop->active =
			meter_own(observer->meter, METRIC_loop_time, 1, SLICE("active"));
		loop->idle =
			meter_own(observer->meter, METRIC_loop_time, 1, SLICE("idle"));
		loop->lag = meter_own(observer->meter, METRIC_loop_lag, 0);
		timer_start(loop, &loop->heartbeat,
			    mono_after_ms(loop->now, HEARTBEAT_MS), loop_heartbeat, loop);
	}
	return loop;
}

void loop_destroy(struct loop *loop)
{
	if (!loop)
		return;
	while (loop_deliver(loop))
		;
	loop_fd_destroy(loop->mail_fd);
	check(loop->fds == 0);
	while (list_take(&loop->deferred))
		;
	while (list_take(&loop->ticks))
		;
	check(list_empty(&loop->guests));
	timer_heap_finish(&loop->timers);
	mailbox_destroy(loop->mailbox);
	h2o_evloop_destroy(loop->h2o);
	free(loop);
}

const struct observer *loop_observer(const struct loop *loop)
{
	return loop->observer;
}

struct chaos *loop_chaos(const struct loop *loop)
{
	return loop->chaos;
}

struct st_h2o_evloop_t *loop_h2o(const struct loop *loop)
{
	return loop->h2o;
}

void loop_count_fd(struct loop *loop, int step)
{
	loop->fds += (unsigned)step;
}

/* --- guests ----------------------------------------------------------------------- */

void loop_guest_add(struct loop *loop, struct guest *guest)
{
	guest->id = ++loop->guest_ids;
	list_append(loop->guests.next, &guest->member);
}

void loop_guest_remove(struct guest *guest)
{
	if (guest->id)
		list_remove(&guest->member);
	guest->id = 0;
}

struct guest *loop_guest(const struct loop *loop, uint64_t id)
{
	for (struct list *at = loop->guests.next; at != &loop->guests; at = at->next) {
		struct guest *guest = list_of(at, struct guest, member);

		if (guest->id == id)
			return guest;
	}
	return NULL;
}

/* --- turns ------------------------------------------------------------------------ */

size_t loop_timers(const struct loop *loop)
{
	return loop->timers.count;
}

uint64_t loop_turns(const struct loop *loop)
{
	return loop->turns;
}

struct mono loop_now(const struct loop *loop)
{
	if (!loop->now_known) {
		struct loop *own =
			(struct loop *)loop; /* a cache: reading looks const outside */

		own->now = clock_mono();
		own->now_known = true;
	}
	return loop->now;
}

/* Only those that were there when it began: a timer that starts itself due cannot hold
 * the loop. */
static void loop_fire(struct loop *loop)
{
	struct mono now = loop_now(loop);
	size_t most = loop->timers.count;

	while (most--) {
		struct timer *timer = timer_heap_first(&loop->timers);

		if (!timer || timer->due.ns > now.ns)
			return;
		timer_heap_remove(&loop->timers, timer);
		timer->fn(timer->context);
	}
}

void loop_settle(struct loop *loop)
{
	struct list *member;

	while ((member = list_take(&loop->deferred))) {
		struct deferred *deferred = list_of(member, struct deferred, member);

		deferred->fn(deferred->context);
	}
}

/* Each hook is back in its list before it is called, so that hooks may remove any hook.
 */
static void loop_run_ticks(struct loop *loop)
{
	struct list pending = loop->ticks;
	struct list *member;

	if (list_empty(&loop->ticks))
		return;
	pending.next->previous = pending.previous->next = &pending;
	list_init(&loop->ticks);
	while ((member = list_take(&pending))) {
		struct tick *tick = list_of(member, struct tick, member);

		list_append(&loop->ticks, member);
		tick->fn(tick->context);
	}
}

static int loop_wait_ms(const struct loop *loop, int most_ms)
{
	const struct timer *first = timer_heap_first(&loop->timers);
	int left;

	if (!list_empty(&loop->deferred))
		return 0;
	if (!first)
		return most_ms;
	left = mono_left_ms(clock_mono(), first->due);
	return left < most_ms ? left : most_ms;
}

static void loop_record(struct loop *loop)
{
	struct mono ended;

	if (!loop->active)
		return;
	ended = clock_mono();
	series_add(loop->idle, mono_seconds(loop->turn_ended, loop->now));
	series_add(loop->active, mono_seconds(loop->now, ended));
	loop->turn_ended = ended;
}

void loop_turn(struct loop *loop, int wait_ms)
{
	loop->now_known = false;
	loop->turns++;
	/* -1 is EINTR: a signal ended the wait, which is as good an end as any. */
	h2o_evloop_run(loop->h2o, loop_wait_ms(loop, wait_ms));
	loop_fire(loop);
	loop_settle(loop);
	loop_run_ticks(loop);
	loop_record(loop);
}

void loop_run(struct loop *loop)
{
	while (!atomic_exchange_explicit(&loop->stopping, false, memory_order_acquire))
		loop_turn(loop, WAIT_MAX_MS);
}

void loop_stop(struct loop *loop)
{
	atomic_store_explicit(&loop->stopping, true, memory_order_release);
	mailbox_wake(loop->mailbox);
}

/* --- what is embedded in whoever waits -------------------------------------------- */

void timer_start(struct loop *loop, struct timer *timer, struct mono due, loop_fn *fn,
		 void *context)
{
	timer->due = due;
	timer->fn = fn;
	timer->context = context;
	timer_heap_put(&loop->timers, timer);
}

void timer_stop(struct loop *loop, struct timer *timer)
{
	timer_heap_remove(&loop->timers, timer);
}

void loop_defer(struct loop *loop, struct deferred *deferred, loop_fn *fn, void *context)
{
	deferred->fn = fn;
	deferred->context = context;
	if (!deferred->member.next || list_empty(&deferred->member))
		list_append(&loop->deferred, &deferred->member);
}

void loop_undefer(struct deferred *deferred)
{
	if (deferred->member.next)
		list_remove(&deferred->member);
}

void loop_tick_add(struct loop *loop, struct tick *tick, loop_fn *fn, void *context)
{
	tick->fn = fn;
	tick->context = context;
	list_append(&loop->ticks, &tick->member);
}

void loop_tick_remove(struct tick *tick)
{
	if (tick->member.next)
		list_remove(&tick->member);
}

void loop_post(struct loop *loop, struct mail *mail, loop_fn *fn, void *context)
{
	mail->fn = fn;
	mail->context = context;
	mailbox_send(loop->mailbox, &mail->member);
}
