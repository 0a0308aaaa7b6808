/* SPDX-License-Identifier: MIT */
/* amqp_lab.h -- two loops on the test's thread, a struct amqp, and what publishes to and
 * consumes from a RabbitMQ of the test's own. */
#ifndef STORE_AMQP_LAB_H
#define STORE_AMQP_LAB_H

#include "base/check.h"
#include "loop/loop.h"
#include "store/amqp.h"
#include "watch/log.h"
#include "watch/metrics.h"
#include "watch/trace.h"

#include "amqp_broker.h"

#include <stdlib.h>

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

static struct amqp_broker broker;

/* --- the ground: two loops on this thread, an observer for each thread of amqp  */

struct lab {
	struct log_hub *hub;
	struct metrics *metrics;
	struct observer observers[4]; /* two loops, publisher, consumer */
	struct chaos chaos;
	struct loop *loops[2];
	bool second_stands; /* the second loop is not turned */
	struct amqp *amqp;
};

static inline void woken(void *context)
{
}

static inline void lab_create_at(struct lab *lab, const char *url, unsigned waiting_max)
{
	struct tracer_config tracing = { .sampler = SAMPLER_always_on,
					 .recording = true,
					 .ring_bytes = 1 << 20,
					 .attrs_max = 64 };
	struct amqp_config config = { .url = url,
				      .name = "amqp_test",
				      .waiting_max = waiting_max,
				      .connect_timeout_ms = 5000,
				      .heartbeat_s = 10,
				      .delivery_limit = 4 };
	struct fault why;

	memset(lab, 0, sizeof *lab);
	lab->hub = log_hub_create(LOG_info, woken, NULL);
	lab->metrics = metrics_create();
	for (unsigned i = 0; i < 4; i++)
		lab->observers[i] = (struct observer){ log_create(lab->hub, 1 << 16),
						       meter_create(lab->metrics),
						       tracer_create(&tracing, i + 1) };
	for (unsigned i = 0; i < 2; i++)
		lab->loops[i] = loop_create(&lab->observers[i], &lab->chaos);
	config.publisher = &lab->observers[2];
	config.consumer = &lab->observers[3];
	lab->amqp = amqp_create(&config, &why);
	assert_non_null(lab->amqp);
}

static inline void lab_create(struct lab *lab)
{
	lab_create_at(lab, broker.url, 20000);
}

static inline void lab_destroy(struct lab *lab)
{
	amqp_destroy(lab->amqp, 2000);
	for (unsigned i = 0; i < 2; i++)
		loop_destroy(lab->loops[i]);
	for (unsigned i = 0; i < 4; i++)
		tracer_destroy(lab->observers[i].tracer);
	metrics_destroy(lab->metrics);
	log_hub_destroy(lab->hub);
}

static inline void turn(struct lab *lab)
{
	loop_turn(lab->loops[0], 5);
	if (!lab->second_stands)
		loop_turn(lab->loops[1], 0);
}

/* Turns until the condition holds; fails after so many seconds. */
#define until(lab, seconds, condition)                                                   \
	do {                                                                             \
		struct mono limit_ = mono_after_ms(clock_mono(), (seconds)*1000);        \
		while (!(condition)) {                                                   \
			if (clock_mono().ns > limit_.ns)                                 \
				fail_msg("not within %d s: %s", seconds, #condition);    \
			turn(lab);                                                       \
		}                                                                        \
	} while (0)

static inline struct mono in_s(int seconds)
{
	return mono_after_ms(clock_mono(), seconds * 1000);
}

/* --- publishing ------------------------------------------------------------------- */

struct sent {
	unsigned answered;
	unsigned of_kind[FAULT_kinds];
	struct fault why;
};

static inline void sent_done(void *context, const struct fault *why)
{
	struct sent *sent = context;

	sent->answered++;
	sent->of_kind[why ? why->kind : FAULT_none]++;
	if (why)
		sent->why = *why;
}

static inline void publish(struct lab *lab, const char *exchange, const char *key,
			   const char *body, int deadline_s, struct sent *sent)
{
	struct amqp_message message = { .exchange = slice_text(exchange),
					.routing_key = slice_text(key),
					.message_id = slice_text(body),
					.content_type = SLICE("application/json"),
					.body = slice_text(body) };

	amqp_publish(lab->amqp, lab->loops[0], &message, in_s(deadline_s), NULL,
		     sent_done, sent);
}

/* --- consuming -------------------------------------------------------------------- */

#define SEEN_MAX 20000

struct receiver_context {
	struct inbox *inbox;
	unsigned number;
};

struct inbox {
	struct lab *lab;
	struct receiver_context receivers[2];
	struct amqp_delivery *held[64]; /* not settled yet, when hold is set */
	size_t held_count;
	bool hold;
	enum amqp_verdict verdict;
	int delay_ms;
	unsigned count;
	unsigned by_receiver[2];
	unsigned seen[SEEN_MAX]; /* by the number that the body is */
	struct mono last;
};

static inline void receive(void *context, struct amqp_delivery *delivery)
{
	struct receiver_context *receiver = context;
	struct inbox *inbox = receiver->inbox;
	unsigned number = (unsigned)atoi(delivery->message.body.at);

	inbox->count++;
	inbox->by_receiver[receiver->number]++;
	inbox->last = clock_mono();
	if (number < SEEN_MAX)
		inbox->seen[number]++;
	if (inbox->hold)
		inbox->held[inbox->held_count++] = delivery;
	else
		amqp_settle(inbox->lab->amqp, delivery, inbox->verdict, inbox->delay_ms);
}

static inline struct amqp_subscription *
consume_dropping(struct lab *lab, struct inbox *inbox, const char *queue, const char *key,
		 unsigned prefetch, const struct slice *drop_keys, size_t drop_key_count)
{
	struct slice keys[1] = { slice_text(key) };
	struct amqp_receiver receivers[2];
	struct amqp_consumer_config config = { .queue = slice_text(queue),
					       .exchange = SLICE("events"),
					       .keys = keys,
					       .key_count = 1,
					       .drop_keys = drop_keys,
					       .drop_key_count = drop_key_count,
					       .prefetch = prefetch,
					       .receivers = receivers,
					       .receiver_count = 2 };

	inbox->lab = lab;
	for (unsigned i = 0; i < 2; i++) {
		inbox->receivers[i] = (struct receiver_context){ inbox, i };
		receivers[i] = (struct amqp_receiver){ lab->loops[i], receive,
						       &inbox->receivers[i] };
	}
	return amqp_consume(lab->amqp, &config);
}

static inline struct amqp_subscription *consume(struct lab *lab, struct inbox *inbox,
						const char *queue, const char *key,
						unsigned prefetch)
{
	return consume_dropping(lab, inbox, queue, key, prefetch, NULL, 0);
}

struct depth {
	bool answered;
	bool failed;
	uint32_t messages;
	struct fault why;
};

static inline void depth_done(void *context, uint32_t messages, const struct fault *why)
{
	struct depth *depth = context;

	depth->answered = true;
	depth->messages = messages;
	depth->failed = why != NULL;
	if (why)
		depth->why = *why;
}

static inline struct depth depth_of(struct lab *lab, const char *queue)
{
	struct depth depth = { 0 };

	amqp_depth(lab->amqp, lab->loops[0], slice_text(queue), in_s(10), depth_done,
		   &depth);
	until(lab, 15, depth.answered);
	return depth;
}

/* The queue exists and is bound when this is over. */
static inline void until_declared(struct lab *lab, const char *queue)
{
	struct mono limit = in_s(20);
	char dead[64];

	snprintf(dead, sizeof dead, "%s.dead", queue); /* declared last */
	while (depth_of(lab, dead).failed) {
		struct mono pause = mono_after_ms(clock_mono(), 30);

		assert_true(clock_mono().ns < limit.ns);
		until(lab, 5, clock_mono().ns > pause.ns);
	}
}

static inline struct inbox *inbox_create(void)
{
	return mem_zeroed(1, sizeof(struct inbox));
}

struct sum {
	const char *family;
	const char *label;
	double value;
};

static inline void sum_family(void *context, const struct metric_def *def, size_t count)
{
}

static inline void sum_point(void *context, const struct metric_def *def,
			     const struct metric_point *point)
{
	struct sum *sum = context;

	if (!slice_equal(def->name, slice_text(sum->family)))
		return;
	for (size_t i = 0; i < def->label_count; i++)
		if (slice_equal(point->values[i], slice_text(sum->label)))
			sum->value += point->value;
}

static inline double series(struct lab *lab, const char *family, const char *label)
{
	struct sum sum = { family, label, 0 };

	metrics_read(lab->metrics,
		     &(struct metrics_reader){ sum_family, sum_point, &sum });
	return sum.value;
}

/* --- main ------------------------------------------------------------------------- */

static inline int start_broker(void **state)
{
	amqp_broker_create(&broker);
	return 0;
}

static inline int end_broker(void **state)
{
	amqp_broker_destroy(&broker);
	return 0;
}

/* With the name of one test as the argument only that one runs. */
#define run_with_broker(tests, count, arguments)                                         \
	(count > 1 ? cmocka_set_test_filter(arguments[1]) : (void)0,                     \
	 amqp_broker_found()                                                             \
		 ? cmocka_run_group_tests(tests, start_broker, end_broker)               \
		 : (print_message("skipped: RabbitMQ is not installed\n"), 77))

#endif
