/* SPDX-License-Identifier: MIT */
/* amqp.h -- RabbitMQ for a process: publishing with confirms, consuming with
 * acknowledgements.
 *
 * rabbitmq-c blocks, so it runs on two threads: amqp_publisher.h and amqp_consumer.h,
 * each with a connection of its own (amqp_link.h). Loops talk to them by mail. Both
 * reconnect with back-off (200 ms doubling to 5 s) and declare again what they need.
 *
 * Publishing: the message is persistent and `mandatory` is off; done comes after the
 * broker's confirm. A message whose connection broke before its confirm is published
 * again while its deadline has not passed (its message id makes consumers idempotent).
 * unavailable: not sent, by the deadline or at once when the broker is known to be down;
 * uncertain: sent, no confirm before the deadline; refused: nacked; missing: no such
 * exchange; bad_input: a name of more than 255 bytes or headers of more than 64 KiB. At
 * most waiting_max messages wait (limit). The deadline is kept by the caller's loop,
 * whatever the thread is doing. A PRODUCER span per message (name "publish
 * <exchange>:<routing key>"), whose context goes into the message headers traceparent and
 * tracestate.
 *
 * Consuming: a queue is declared durable, type quorum, with a delivery limit and a
 * dead-letter queue `<queue>.dead`, bound to the exchange by each key. At most prefetch
 * messages are out at once over all loops; each goes to one of the loops given, in turn.
 * The receiver answers each once with amqp_settle, from its loop. Connection lost:
 * unsettled messages are delivered again by the broker; settling an old one does nothing.
 * A subscription may end while others go on, and its queue be consumed anew at once.
 *
 *   delivered --amqp_settle(ack)--> gone
 *             --amqp_settle(retry, delay_ms)--> requeued after the delay
 *             --amqp_settle(again, delay_ms)--> delivered again after the delay
 *             --amqp_settle(dead)--> dead-letter queue
 *
 * Series: amqp_connected by role (a role that has nothing to do has none), and
 * messages_published with outcome "ok" or the kind of fault. What becomes of a delivery
 * is counted by its receiver.
 */
#ifndef STORE_AMQP_H
#define STORE_AMQP_H

#include "base/clock.h"
#include "base/fault.h"

#include <stdint.h>

struct loop;
struct observer;
struct trace_context;
struct amqp;

struct amqp_config {
	const char *url; /* amqp://user:password@host:port/vhost; copied */
	const char *name; /* connection name shown by the broker */
	unsigned waiting_max;
	int connect_timeout_ms;
	int heartbeat_s;
	unsigned delivery_limit;
	const struct observer *publisher; /* of the publishing thread only; borrowed */
	const struct observer *consumer; /* of the consuming thread only; borrowed */
};

struct amqp_header {
	struct slice name;
	struct slice value; /* text headers only */
};

struct amqp_message {
	struct slice exchange;
	struct slice routing_key;
	struct slice message_id;
	struct slice content_type;
	struct slice body;
	const struct amqp_header *headers;
	size_t header_count;
};

typedef void amqp_done_fn(void *context,
			  const struct fault *why); /* why NULL: confirmed */
typedef void amqp_depth_fn(void *context, uint32_t messages, const struct fault *why);

/* Starts the threads. The topic exchange `events` is declared durable on connecting.
 * Fails only on a malformed url. */
struct amqp *amqp_create(const struct amqp_config *config, struct fault *why);

/* Stops consuming, waits for confirms up to grace_ms, joins the threads. The loops are
 * stopped by then but not destroyed. Callbacks that were not called yet are not called;
 * what is still out is freed when its loop is destroyed. NULL is allowed. */
void amqp_destroy(struct amqp *amqp, int grace_ms);

/* From any loop's thread; done is called on it. Copies the message and trace: the parent
 * of the producer span, or NULL. */
void amqp_publish(struct amqp *amqp, struct loop *loop,
		  const struct amqp_message *message, struct mono deadline,
		  const struct trace_context *trace, amqp_done_fn *done, void *context);

/* Messages ready in a queue (passive declare). missing: there is no such queue. */
void amqp_depth(struct amqp *amqp, struct loop *loop, struct slice queue,
		struct mono deadline, amqp_depth_fn *done, void *context);

struct amqp_delivery { /* lives until it is settled */
	struct amqp_message message;
	struct slice queue;
	bool redelivered;
	unsigned delivery_count; /* earlier attempts, x-delivery-count */
	unsigned again_count; /* and how often this one was delivered again */
	uint64_t tag;
	const struct trace_context *parent; /* from the headers; NULL: none */
};

/* On the loop's thread. Lends delivery until amqp_settle. */
typedef void amqp_deliver_fn(void *context, struct amqp_delivery *delivery);

struct amqp_receiver {
	struct loop *loop;
	amqp_deliver_fn *deliver;
	void *context;
};

struct amqp_consumer_config {
	struct slice queue;
	struct slice exchange;
	const struct slice *keys;
	size_t key_count;
	const struct slice *drop_keys; /* to be unbound: an earlier consumer may have
					  bound them. Those that are in keys stay */
	size_t drop_key_count;
	unsigned prefetch;
	const struct amqp_receiver *receivers; /* copied */
	size_t receiver_count;
};

struct amqp_subscription;

/* Copies. Lends the subscription, until amqp_unsubscribe or amqp_destroy. Any thread,
 * before or after connecting. */
struct amqp_subscription *amqp_consume(struct amqp *amqp,
				       const struct amqp_consumer_config *config);

/* Takes the subscription: no further deliveries to its receivers, except those that have
 * begun on another thread. What is on its way goes back to the queue, which counts an
 * attempt; what is out may still be settled. The queue may be consumed again at once: the
 * broker hears the two in the order of the calls. Any thread, before or after
 * connecting. */
void amqp_unsubscribe(struct amqp *amqp, struct amqp_subscription *subscription);

/* No further deliveries to anybody (basic.cancel); what is out may still be settled. Any
 * thread. */
void amqp_quiesce(struct amqp *amqp);

/* again: the broker is not told, so it is no attempt that the delivery limit counts. For
 * what is not the message's fault; after AMQP_AGAIN_MS in all, or when its queue is not
 * consumed any more, it is a retry. It keeps its place in the prefetch: a queue of which
 * so many wait gives nobody any other message. */
enum amqp_verdict { AMQP_ack, AMQP_retry, AMQP_again, AMQP_dead };

/* A broker has to wait longer than this for an acknowledgement, else it closes the
 * channel and counts an attempt of all that is out. RabbitMQ waits 30 minutes, unless
 * consumer_timeout says otherwise. */
#define AMQP_AGAIN_MS 900000

/* Takes delivery. delay_ms is for retry and again. After amqp_destroy it does nothing. */
void amqp_settle(struct amqp *amqp, struct amqp_delivery *delivery,
		 enum amqp_verdict verdict, int delay_ms);

/* For /ready. Any thread. */
bool amqp_healthy(const struct amqp *amqp, struct fault *why);

#endif
