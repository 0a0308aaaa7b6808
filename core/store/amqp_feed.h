/* SPDX-License-Identifier: MIT */
/* amqp_feed.h -- one queue that is consumed: its channel, what it declares, who receives.
 *
 *     closed --amqp_feed_open: exchange, queue, bindings, dead-letter queue, consume-->
 * open
 *            <--the channel or the connection is lost, the broker cancels--
 *
 * The bindings come before the unbindings: a message that both an old and a new key match
 * is never without one.
 *
 * The dead-letter queue is declared last: who finds it there may publish, and nothing is
 * lost.
 */
#ifndef STORE_AMQP_FEED_H
#define STORE_AMQP_FEED_H

#include "store/amqp_consumer.h"

/* Before a channel that the broker closed is opened again. */
#define AMQP_FEED_RETRY_MS 1000

struct amqp_subscription { /* what others hold of a feed */
	struct amqp_note leave; /* goes into the mailbox when it ends */
	atomic_bool left; /* it has ended; the thread may not know yet */
};

struct amqp_feed {
	struct amqp_note
		note; /* its member: in the mailbox, then in the consumer's list */
	struct arena arena; /* what config points to */
	struct amqp_consumer_config config;
	unsigned channel;
	unsigned epoch; /* counts the lives of the channel */
	bool open;
	bool leaving; /* cancelled: not to be opened again, freed when nothing is out */
	struct amqp_subscription subscription;
	struct mono open_at; /* when to open it, if it is closed */
	size_t turn; /* the receiver of the next delivery */
	struct amqp_in *partial; /* a delivery whose body is not complete */
	struct list out; /* deliveries that are not settled */
};

/* Copies. */
struct amqp_feed *amqp_feed_create(const struct amqp_consumer_config *config);

/* What is out is freed: here, or on the loop that has it. */
void amqp_feed_free(struct amqp_feed *feed);

/* False, logged: the broker refuses; it will be tried again at open_at. */
bool amqp_feed_open(struct amqp_feed *feed, struct amqp_link *link,
		    unsigned delivery_limit);

/* The channel is gone; to be opened again after retry_ms. */
void amqp_feed_close(struct amqp_feed *feed, int retry_ms);

/* No further deliveries; the channel stays open for settling. */
void amqp_feed_cancel(struct amqp_feed *feed, struct amqp_link *link);

#endif
