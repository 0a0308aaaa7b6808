/* SPDX-License-Identifier: MIT */
/* consumer.h -- messages of a queue as tasks of one worker.
 *
 *     delivery -> CONSUMER span -> task(handler, message) -> amqp_settle
 *
 * The span has the producer's as parent and as link.
 *
 * Returning acknowledges. A fault requeues with a delay that doubles with each attempt
 * (200 ms up to 10 s), until the queue's delivery limit dead-letters it; bad_input, and a
 * body that is no JSON, dead-letter at once. A message whose task the end of the service
 * cancels is requeued.
 */
#ifndef API_CONSUMER_H
#define API_CONSUMER_H

struct amqp;
struct amqp_delivery;
struct consumer;
struct loop;
struct service_consumer;
struct vm;

#define CONSUMER_TIMEOUT_MS 30000

/* Borrows all. */
struct consumer *consumer_create(struct loop *loop, struct vm *vm, struct amqp *amqp,
				 const struct service_consumer *what);

/* After the VM's tasks have ended. NULL is allowed. */
void consumer_destroy(struct consumer *consumer);

/* An amqp_deliver_fn; context is the consumer. */
void consumer_deliver(void *context, struct amqp_delivery *delivery);

#endif
