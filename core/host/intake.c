/* SPDX-License-Identifier: MIT */
#include "host/intake.h"

#include "api/service.h"
#include "base/arena.h"
#include "base/check.h"
#include "base/list.h"
#include "host/worker_service.h"
#include "store/amqp.h"

#include <stdlib.h>

#define EVENTS "events" /* the exchange of all labs */

/* What a delivery names: a worker and a queue. */
struct slot {
	struct worker_service *worker;
	struct slice queue;
};

/* A queue that is consumed, or was: late deliveries may still name its slots. */
struct intake_queue {
	struct list member;
	struct arena arena;
	struct slice name;
	struct slice keys[SERVICE_KEYS_MAX];
	size_t key_count;
	unsigned prefetch;
	struct amqp_subscription *subscription; /* NULL: not any more */
	struct slot *slots;
};

struct intake {
	struct amqp *amqp;
	struct worker_service *const *workers;
	size_t count;
	struct list queues;
};

static void on_delivery(void *context, struct amqp_delivery *delivery)
{
	const struct slot *slot = context;

	worker_service_deliver(slot->worker, slot->queue, delivery);
}

static struct intake_queue *find_queue(struct intake *intake, struct slice name)
{
	for (struct list *at = intake->queues.next; at != &intake->queues;
	     at = at->next) {
		struct intake_queue *queue = list_of(at, struct intake_queue, member);

		if (slice_equal(queue->name, name))
			return queue;
	}
	return NULL;
}

static struct intake_queue *add_queue(struct intake *intake, struct slice name)
{
	struct intake_queue *queue = mem_zeroed(1, sizeof(*queue));

	queue->name = arena_copy(&queue->arena, name);
	queue->slots = arena_alloc(&queue->arena, intake->count * sizeof(*queue->slots));
	for (size_t i = 0; i < intake->count; i++)
		queue->slots[i] = (struct slot){ intake->workers[i], queue->name };
	list_append(&intake->queues, &queue->member);
	return queue;
}

static bool has_key(const struct slice *keys, size_t count, struct slice key)
{
	for (size_t i = 0; i < count; i++)
		if (slice_equal(keys[i], key))
			return true;
	return false;
}

static bool is_same(const struct intake_queue *queue,
		    const struct service_consumer *consumer)
{
	if (!queue->subscription || queue->prefetch != consumer->prefetch ||
	    queue->key_count != consumer->key_count)
		return false;
	for (size_t i = 0; i < queue->key_count; i++)
		if (!has_key(consumer->keys, consumer->key_count, queue->keys[i]))
			return false;
	return true;
}

static void leave(struct intake *intake, struct intake_queue *queue)
{
	if (queue->subscription)
		amqp_unsubscribe(intake->amqp, queue->subscription);
	queue->subscription = NULL;
}

/* The keys that the queue was bound by and is not any more are unbound. */
static void consume(struct intake *intake, struct intake_queue *queue,
		    const struct service_consumer *consumer)
{
	struct amqp_receiver *receivers = mem_zeroed(intake->count, sizeof(*receivers));
	struct slice dropped[SERVICE_KEYS_MAX];
	size_t dropped_count = 0;
	struct amqp_consumer_config config = {
		.queue = queue->name,
		.exchange = SLICE(EVENTS),
		.keys = consumer->keys,
		.key_count = consumer->key_count,
		.prefetch = consumer->prefetch,
		.receivers = receivers,
		.receiver_count = intake->count,
	};

	for (size_t i = 0; i < queue->key_count; i++)
		if (!has_key(consumer->keys, consumer->key_count, queue->keys[i]))
			dropped[dropped_count++] = queue->keys[i];
	config.drop_keys = dropped;
	config.drop_key_count = dropped_count;
	for (size_t i = 0; i < intake->count; i++)
		receivers[i] =
			(struct amqp_receiver){ worker_service_loop(intake->workers[i]),
						on_delivery, &queue->slots[i] };
	queue->subscription = amqp_consume(intake->amqp, &config);
	queue->prefetch = consumer->prefetch;
	queue->key_count = consumer->key_count;
	for (size_t i = 0; i < consumer->key_count; i++)
		queue->keys[i] = arena_copy(&queue->arena, consumer->keys[i]);
	free(receivers);
}

static bool consumes(const struct service *service, struct slice queue)
{
	for (size_t i = 0; i < service->consumer_count; i++)
		if (slice_equal(service->consumers[i].queue, queue))
			return true;
	return false;
}

bool intake_possible(const struct intake *intake, const struct service *service,
		     struct fault *why)
{
	if (!service->consumer_count || intake->amqp)
		return true;
	return fault_set(why, FAULT_bad_input,
			 "the service consumes queues: set amqp_url (ORRERY_AMQP_URL)");
}

void intake_follow(struct intake *intake, const struct service *service)
{
	for (struct list *at = intake->queues.next; at != &intake->queues;
	     at = at->next) {
		struct intake_queue *queue = list_of(at, struct intake_queue, member);

		if (!consumes(service, queue->name))
			leave(intake, queue);
	}
	for (size_t i = 0; i < service->consumer_count; i++) {
		const struct service_consumer *consumer = &service->consumers[i];
		struct intake_queue *queue = find_queue(intake, consumer->queue);

		if (queue && is_same(queue, consumer))
			continue;
		if (!queue)
			queue = add_queue(intake, consumer->queue);
		leave(intake, queue);
		consume(intake, queue, consumer);
	}
}

struct intake *intake_create(struct amqp *amqp, struct worker_service *const *workers,
			     size_t count)
{
	struct intake *intake = mem_zeroed(1, sizeof(*intake));

	*intake = (struct intake){ .amqp = amqp, .workers = workers, .count = count };
	list_init(&intake->queues);
	return intake;
}

void intake_destroy(struct intake *intake)
{
	struct list *member;

	if (!intake)
		return;
	while ((member = list_take(&intake->queues))) {
		struct intake_queue *queue = list_of(member, struct intake_queue, member);

		arena_finish(&queue->arena);
		free(queue);
	}
	free(intake);
}
