/* SPDX-License-Identifier: MIT */
/* amqp_consumer.h -- the thread that consumes: several queues, each on a channel of its
 * own.
 *
 * A feed is one queue and who receives from it:
 *
 *     closed --declare, bind, consume--> open --channel or connection lost--> closed
 *     open or closed --unsubscribed, cancelled--> leaving --nothing is out--> freed
 *
 * A struct amqp_in is one delivery. The thread makes it out of the frames (method,
 * header, body parts), posts it to a loop, gets it back settled, and tells the broker. A
 * retry stays unsettled until its delay has passed, so that it keeps its place in the
 * prefetch: a queue of failing messages is slow, not a circle. One that is to be
 * delivered again stays so too, and the broker does not hear of it.
 *
 * Invariants
 *   - delivery tags belong to one life of a channel: a delivery whose feed has been
 * opened again since (its epoch is old) is not told to the broker, which delivers it
 * again by itself.
 *   - every delivery on its way is in its feed's list `out` until it is settled.
 *   - a channel's number is given again only when all its frames have been read.
 */
#ifndef STORE_AMQP_CONSUMER_H
#define STORE_AMQP_CONSUMER_H

#include "base/arena.h"
#include "loop/loop.h"
#include "store/amqp.h"
#include "store/amqp_life.h"
#include "store/amqp_link.h"
#include "watch/trace.h"

struct amqp_consumer;
struct amqp_feed;

enum amqp_note_kind {
	AMQP_NOTE_settled, /* in a struct amqp_in */
	AMQP_NOTE_feed, /* in a struct amqp_feed */
	AMQP_NOTE_leave, /* in the subscription of a struct amqp_feed */
	AMQP_NOTE_quiesce,
	AMQP_NOTE_cut,
	AMQP_NOTE_stop
};

struct amqp_note { /* what the mailbox carries */
	struct list member;
	enum amqp_note_kind kind;
};

struct amqp_in {
	struct amqp_note note;

	/* The thread's. */
	struct list place; /* in its feed's `out` */
	struct amqp_feed *feed; /* outlives it, but for amqp_destroy */
	unsigned epoch;
	struct mono due; /* when a retry goes back to the queue, or is delivered again */
	struct mono again_until; /* from then on it goes back to the queue */
	size_t body_size;
	char *body;

	/* The loop's, until it is settled. */
	struct arena arena; /* what delivery points to */
	struct amqp_delivery delivery;
	struct trace_context parent;
	struct amqp *amqp;
	struct amqp_life *life; /* held */
	atomic_bool arrived; /* the loop has its mail */
	const struct amqp_receiver *receiver;
	struct mail mail;
	struct timer timer;
	enum amqp_verdict verdict;
	int delay_ms;
};

/* deliver is called on a receiver's loop with a struct amqp_in, whose amqp is set. */
struct amqp_consumer *amqp_consumer_create(const struct amqp_endpoint *endpoint,
					   const struct observer *observer,
					   unsigned delivery_limit, struct amqp *amqp,
					   struct amqp_life *life, loop_fn *deliver);

/* Deliveries that are out are freed on their loops. */
void amqp_consumer_destroy(struct amqp_consumer *consumer);

/* When life is over only: else settle. */
void amqp_in_free(struct amqp_in *in);

/* On the loop: its subscription has ended, so nobody is to get it any more. */
bool amqp_in_unwanted(const struct amqp_in *in);

/* All from any thread. add copies and lends; remove and settle take. */
struct amqp_subscription *amqp_consumer_add(struct amqp_consumer *consumer,
					    const struct amqp_consumer_config *config);
void amqp_consumer_remove(struct amqp_consumer *consumer,
			  struct amqp_subscription *subscription);
void amqp_consumer_settle(struct amqp_consumer *consumer, struct amqp_in *in);
void amqp_consumer_quiesce(struct amqp_consumer *consumer);
void amqp_consumer_cut(struct amqp_consumer *consumer);
bool amqp_consumer_healthy(const struct amqp_consumer *consumer, struct fault *why);

#endif
