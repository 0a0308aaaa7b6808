/* SPDX-License-Identifier: MIT */
/* loop.h -- one thread's event loop: descriptors, timers, deferred calls, ticks, mail.
 *
 * It runs on libh2o's event loop, with timers of its own on the monotonic clock. One
 * turn:
 *
 *     wait for events -> their callbacks -> due timers -> deferred calls -> tick hooks
 *
 * Deferred calls may defer again; the turn ends when none is left. Tick hooks run once a
 * turn and are where PostgreSQL and Redis flush what the turn has produced.
 *
 * Everything here belongs to the loop's thread, except loop_post and loop_stop.
 */
#ifndef LOOP_LOOP_H
#define LOOP_LOOP_H

#include "base/chaos.h"
#include "base/clock.h"
#include "base/list.h"
#include "watch/observer.h"

struct loop;
struct st_h2o_evloop_t;

typedef void loop_fn(void *context);

/* Borrows observer and chaos, which must outlive it. */
struct loop *loop_create(const struct observer *observer, struct chaos *chaos);

/* NULL is allowed. Mail that has come is still delivered; timers, deferred calls and
 * ticks are forgotten; descriptors must be watched no more. libh2o leaves one descriptor
 * (of epoll) open: loops are made for the life of a process. */
void loop_destroy(struct loop *loop);

/* Runs turns until loop_stop, also one that came before. */
void loop_run(struct loop *loop);

/* One turn that waits at most wait_ms. For tests and for draining. */
void loop_turn(struct loop *loop, int wait_ms);

/* Any thread, signal handlers too. */
void loop_stop(struct loop *loop);

const struct observer *loop_observer(const struct loop *loop);
struct chaos *loop_chaos(const struct loop *loop);
struct st_h2o_evloop_t *loop_h2o(const struct loop *loop);

/* Turns begun so far: what tells one from the next. */
uint64_t loop_turns(const struct loop *loop);

/* The monotonic time, read once a turn, when its first callback asks. */
struct mono loop_now(const struct loop *loop);

/* --- timers: embedded in whoever waits -------------------------------------------- */

struct timer {
	struct mono due;
	size_t place; /* in the heap; 0 when not started */
	loop_fn *fn;
	void *context;
};

/* A zeroed timer is stopped. Starting a started timer moves it. Fires once. */
void timer_start(struct loop *loop, struct timer *timer, struct mono due, loop_fn *fn,
		 void *context);
void timer_stop(struct loop *loop, struct timer *timer);
size_t loop_timers(const struct loop *loop); /* that are started */
static inline bool timer_started(const struct timer *timer)
{
	return timer->place != 0;
}

/* --- deferred calls: later in this turn, never inside the caller ------------------ */

struct deferred {
	struct list member;
	loop_fn *fn;
	void *context;
};

/* deferred is zeroed or was deferred before; deferring it twice before it runs is one
 * call, with the newer fn and context. */
void loop_defer(struct loop *loop, struct deferred *deferred, loop_fn *fn, void *context);
void loop_undefer(struct deferred *deferred);

/* Runs now what has been deferred: for the outermost frame of an event's callback, when
 * everything it called has returned. What is then written still belongs to h2o's turn,
 * which saves two epoll_ctl and a turn an answer (measured: a tenth of a request's CPU).
 */
void loop_settle(struct loop *loop);

/* --- tick hooks: once a turn, after everything else ------------------------------- */

struct tick {
	struct list member;
	loop_fn *fn;
	void *context;
};

void loop_tick_add(struct loop *loop, struct tick *tick, loop_fn *fn, void *context);
void loop_tick_remove(struct tick *tick);

/* --- guests: what late callbacks may ask for after it is gone --------------------- */

/* Embedded. Its id is never given again, so one kept too long finds nothing. */
struct guest {
	struct list member;
	uint64_t id; /* from 1 */
};

void loop_guest_add(struct loop *loop, struct guest *guest);
void loop_guest_remove(struct guest *guest); /* one that was added, or zeroed */
struct guest *loop_guest(const struct loop *loop, uint64_t id); /* or NULL */

/* --- descriptors of other libraries ----------------------------------------------- */

struct loop_fd;
typedef void loop_fd_fn(void *context, bool readable, bool writable);

/* Watches a duplicate of fd: closing fd stays the caller's. Makes it non-blocking.
 * Level-triggered; nothing is wanted at first. */
struct loop_fd *loop_fd_create(struct loop *loop, int fd, loop_fd_fn *ready,
			       void *context);

/* May be called from inside ready. An error or hang-up is reported as whatever is wanted;
 * readable and writable come as two calls. */
void loop_fd_want(struct loop_fd *watch, bool read, bool write);

/* NULL is allowed. May be called from inside ready; ready is not called again. */
void loop_fd_destroy(struct loop_fd *watch);

/* --- mail from other threads ------------------------------------------------------ */

struct mail {
	struct list member;
	loop_fn *fn; /* runs on the loop's thread with context */
	void *context;
};

/* Any thread. mail is taken until fn is called, which may free it. */
void loop_post(struct loop *loop, struct mail *mail, loop_fn *fn, void *context);

#endif
