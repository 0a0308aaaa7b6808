/* SPDX-License-Identifier: MIT */
/* consumer.h -- messages of a queue as tasks of one worker.
 *
 *     delivery -> CONSUMER span -> task(handler, message) -> amqp_settle
 *
 * The span has the producer's as parent and as link.
 *
 * Returning acknowledges. A fault requeues with a delay that doubles with each attempt
 * (200 ms up to 10 s), until the queue's delivery limit dead-letters it; bad_input, and a
 * body that is no JSON, dead-letter at once. A message whose task the end of the VM
 * cancels is requeued. After CONSUMER_AWAY_ATTEMPTS a fault that says that somebody is
 * away (unavailable, timeout, uncertain) is an attempt only every AMQP_AGAIN_MS: a store
 * that is away for minutes makes no dead letters.
 *
 * While the VM has no memory left, messages are handed back with a delay of
 * CONSUMER_NO_ROOM_MS, which counts as an attempt, and a warning says so once a minute.
 *
 * Nothing outside points here but whoever called consumer_create: it finds out whose turn
 * it is when a delivery comes, by its queue.
 */
#ifndef API_CONSUMER_H
#define API_CONSUMER_H

#include <stdbool.h>

struct amqp;
struct amqp_delivery;
struct consumer;
struct loop;
struct service_consumer;
struct vm;

#define CONSUMER_TIMEOUT_MS 30000
#define CONSUMER_NO_ROOM_MS 1000
#define CONSUMER_AWAY_ATTEMPTS 5

/* Borrows all. */
struct consumer *consumer_create(struct loop *loop, struct vm *vm, struct amqp *amqp,
				 const struct service_consumer *what);

/* When it is idle; after the VM is destroyed it is. NULL is allowed. */
void consumer_destroy(struct consumer *consumer);

/* On the loop's thread; takes delivery, to settle it. */
void consumer_deliver(struct consumer *consumer, struct amqp_delivery *delivery);

/* Whether no message is being handled. */
bool consumer_idle(const struct consumer *consumer);

#endif
