/* SPDX-License-Identifier: MIT */
/* amqp_publisher.h -- the thread that publishes.
 *
 * A struct amqp_out is made by a loop, travels to the thread and always comes back by
 * mail:
 *
 *     waiting --written to the socket--> written --confirm--> back
 *        |                                  |
 *        | (deadline, on the loop)          | connection lost: waiting in line again,
 * still v                                  | `written`, since the broker may have it
 *     abandoned --never written--> back     v
 *
 * Many messages are under way at once: they are written until AMQP_WINDOW are unconfirmed
 * (amqp_window.h).
 *
 * Invariants
 *   - a message is written only after its stage went from waiting to written, so that a
 * loop that gave it up before knows that it never will be.
 *   - while the broker is known to be down, nothing that was never written waits.
 */
#ifndef STORE_AMQP_PUBLISHER_H
#define STORE_AMQP_PUBLISHER_H

#include "base/arena.h"
#include "loop/loop.h"
#include "store/amqp.h"
#include "store/amqp_life.h"
#include "store/amqp_link.h"

struct amqp_publisher;

enum amqp_out_kind {
	AMQP_OUT_message,
	AMQP_OUT_depth, /* count the messages in the queue routing_key */
	AMQP_OUT_cut, /* break the connection; for chaos */
	AMQP_OUT_stop
};

enum amqp_out_stage { AMQP_OUT_waiting, AMQP_OUT_written, AMQP_OUT_abandoned };

struct amqp_out {
	struct list member; /* in the mailbox, then in a list of the thread */
	enum amqp_out_kind kind;
	_Atomic int stage;
	struct arena arena; /* what message points to */
	struct amqp_message message;
	struct mono deadline;

	/* The thread's; the loop reads them when it is back. */
	unsigned attempts;
	bool failed;
	struct fault why;
	uint32_t depth;

	/* The loop's. */
	struct amqp *amqp;
	struct amqp_life *life; /* held */
	struct loop *loop;
	struct mail mail;
	loop_fn *back; /* called on loop with this struct */
	struct timer timer;
	struct deferred deferred;
	struct span *span;
	bool answered;
	amqp_done_fn *done;
	amqp_depth_fn *depth_done;
	void *context;
};

/* Starts the thread. Borrows endpoint and observer. */
struct amqp_publisher *amqp_publisher_create(const struct amqp_endpoint *endpoint,
					     const struct observer *observer,
					     unsigned waiting_max);

/* Waits up to grace_ms for confirms; what is still there then goes back to its loop. */
void amqp_publisher_destroy(struct amqp_publisher *publisher, int grace_ms);

/* Any thread. Takes out until out->back. False (limit): too many wait; out stays the
 * caller's. */
bool amqp_publisher_send(struct amqp_publisher *publisher, struct amqp_out *out,
			 struct fault *why);

/* Any thread. */
void amqp_publisher_cut(struct amqp_publisher *publisher);

bool amqp_publisher_healthy(const struct amqp_publisher *publisher, struct fault *why);

/* Frees; the loop calls it when out is back and answered. */
void amqp_out_free(struct amqp_out *out);

#endif
