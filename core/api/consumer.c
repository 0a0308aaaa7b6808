/* SPDX-License-Identifier: MIT */
#include "api/consumer.h"

#include "api/json_value.h"
#include "api/service.h"
#include "base/check.h"
#include "loop/loop.h"
#include "script/task.h"
#include "script/vm.h"
#include "store/amqp.h"
#include "watch/log.h"
#include "watch/metrics.h"
#include "watch/trace.h"

#include <lauxlib.h>
#include <stdio.h>
#include <stdlib.h>

#define RETRY_MS 200
#define RETRY_DOUBLINGS 6 /* 200 ms << 6 is 12.8 s */
#define RETRY_MS_MAX 10000
#define REPEAT_LOG_MS 60000

struct consumer {
	struct loop *loop;
	struct vm *vm;
	struct amqp *amqp;
	const struct service_consumer *what;
	unsigned handling; /* messages */
	struct mono warn_at; /* when a warning is due again */
};

/* One message being handled. */
struct handling {
	struct consumer *consumer;
	struct amqp_delivery *delivery;
	struct span *span;
	struct mono began;
};

static void set_text(lua_State *L, const char *name, struct slice value)
{
	lua_pushlstring(L, value.at ? value.at : "", value.size);
	lua_setfield(L, -2, name);
}

/* handler, message */
static void push_message(lua_State *L, void *data)
{
	struct handling *handling = data;
	const struct amqp_delivery *delivery = handling->delivery;
	const struct amqp_message *message = &delivery->message;
	struct fault why;

	lua_rawgeti(L, LUA_REGISTRYINDEX, handling->consumer->what->handler);
	lua_createtable(L, 0, 7);
	set_text(L, "exchange", message->exchange);
	set_text(L, "routing_key", message->routing_key);
	set_text(L, "queue", delivery->queue);
	set_text(L, "message_id", message->message_id);
	lua_pushboolean(L, delivery->redelivered);
	lua_setfield(L, -2, "redelivered");
	lua_createtable(L, 0, (int)message->header_count);
	for (size_t i = 0; i < message->header_count; i++) {
		lua_pushlstring(L, message->headers[i].name.at,
				message->headers[i].name.size);
		lua_pushlstring(L, message->headers[i].value.at,
				message->headers[i].value.size);
		lua_rawset(L, -3);
	}
	lua_setfield(L, -2, "headers");
	if (!json_value_push(L, message->body, &why)) {
		why.kind = FAULT_bad_input;
		vm_push_fault(L, &why);
		lua_error(L);
	}
	lua_setfield(L, -2, "body");
}

/* The line of a message: as a request has one. why NULL: it was handled. */
static void write_log(const struct handling *handling, const struct fault *why)
{
	const struct consumer *consumer = handling->consumer;
	const struct amqp_delivery *delivery = handling->delivery;
	struct slice traceback = task_traceback(consumer->vm);
	struct attr attrs[8];
	size_t count = 0;

	attrs[count++] = attr_text(SLICE("queue"), delivery->queue);
	attrs[count++] = attr_text(SLICE("routing_key"), delivery->message.routing_key);
	attrs[count++] = attr_text(SLICE("message_id"), delivery->message.message_id);
	attrs[count++] = attr_double(SLICE("duration_s"),
				     mono_seconds(handling->began, clock_mono()));
	if (why) {
		attrs[count++] =
			attr_text(SLICE("kind"), slice_text(fault_name(why->kind)));
		attrs[count++] = attr_text(SLICE("error"), slice_text(why->detail));
		attrs[count++] =
			attr_bool(SLICE("dead_lettered"), why->kind == FAULT_bad_input);
	}
	if (traceback.size)
		attrs[count++] = attr_text(SLICE("exception.stacktrace"), traceback);
	log_write(loop_observer(consumer->loop)->log, why ? LOG_error : LOG_info,
		  span_context(handling->span),
		  why ? SLICE("message failed") : SLICE("message handled"), attrs, count);
}

/* Somebody whom the handler asked is away: no message is to blame for that. The first
 * attempts are counted even so, since another process may reach him. */
static bool is_away(const struct fault *why, const struct amqp_delivery *delivery)
{
	return delivery->delivery_count >= CONSUMER_AWAY_ATTEMPTS &&
	       (why->kind == FAULT_unavailable || why->kind == FAULT_timeout ||
		why->kind == FAULT_uncertain);
}

static void settle(struct handling *handling, const struct fault *why)
{
	struct amqp_delivery *delivery = handling->delivery;
	unsigned attempts = delivery->delivery_count + delivery->again_count;
	int delay_ms = RETRY_MS
		       << (attempts < RETRY_DOUBLINGS ? attempts : RETRY_DOUBLINGS);
	enum amqp_verdict verdict = !why			   ? AMQP_ack
				    : why->kind == FAULT_bad_input ? AMQP_dead
				    : is_away(why, delivery)	   ? AMQP_again
								   : AMQP_retry;

	amqp_settle(handling->consumer->amqp, delivery, verdict,
		    delay_ms < RETRY_MS_MAX ? delay_ms : RETRY_MS_MAX);
}

static void count(const struct handling *handling, const struct fault *why)
{
	struct meter *meter = loop_observer(handling->consumer->loop)->meter;
	struct slice outcome = why ? slice_text(fault_name(why->kind)) : SLICE("ok");

	series_add(meter_own(meter, METRIC_messages_consumed, 2,
			     handling->delivery->queue, outcome),
		   1);
	if (why)
		series_add(meter_own(meter, METRIC_task_faults, 1, outcome), 1);
}

static void on_done(void *context, lua_State *L, const struct fault *why)
{
	struct handling *handling = context;

	if (!why || why->kind != FAULT_cancelled)
		write_log(handling, why);
	count(handling, why);
	if (why)
		span_fail(handling->span, slice_text(fault_name(why->kind)),
			  slice_text(why->detail));
	span_end(handling->span);
	settle(handling, why);
	handling->consumer->handling--;
	free(handling);
}

/* "exchange:routing key:queue" without empty parts, and without the queue where it is the
 * key. */
static struct slice name_destination(const struct amqp_delivery *delivery, char *text,
				     size_t size)
{
	const struct amqp_message *message = &delivery->message;
	struct slice parts[3] = { message->exchange, message->routing_key,
				  delivery->queue };
	size_t used = 0;

	if (slice_equal(parts[1], parts[2]))
		parts[2].size = 0;
	for (size_t i = 0; i < 3; i++) {
		if (parts[i].size == 0 || used + 1 + parts[i].size > size)
			continue;
		if (used)
			text[used++] = ':';
		memcpy(text + used, parts[i].at, parts[i].size);
		used += parts[i].size;
	}
	return slice_of(text, used);
}

/* Semantic conventions, RabbitMQ: the producer is parent and link. */
static struct span *begin_span(struct consumer *consumer,
			       const struct amqp_delivery *delivery)
{
	const struct amqp_message *message = &delivery->message;
	char name[256];
	struct slice destination = name_destination(delivery, name, sizeof(name));
	char title[280];
	int title_size =
		snprintf(title, sizeof(title), "process %.*s", SLICE_PRINT(destination));
	struct span *span =
		span_start(loop_observer(consumer->loop)->tracer, SPAN_consumer,
			   slice_of(title, (size_t)title_size), delivery->parent);

	if (delivery->parent)
		span_link(span, delivery->parent);
	span_attr(span, attr_text(SLICE("messaging.system"), SLICE("rabbitmq")));
	span_attr(span, attr_text(SLICE("messaging.operation.type"), SLICE("process")));
	span_attr(span, attr_text(SLICE("messaging.operation.name"), SLICE("process")));
	span_attr(span, attr_text(SLICE("messaging.destination.name"), destination));
	span_attr(span, attr_text(SLICE("messaging.rabbitmq.destination.routing_key"),
				  message->routing_key));
	span_attr(span, attr_text(SLICE("messaging.message.id"), message->message_id));
	span_attr(span, attr_integer(SLICE("messaging.rabbitmq.message.delivery_tag"),
				     (int64_t)delivery->tag));
	return span;
}

static void hand_back(struct consumer *consumer, struct amqp_delivery *delivery)
{
	struct mono now = loop_now(consumer->loop);
	struct attr queue = attr_text(SLICE("queue"), delivery->queue);

	if (now.ns >= consumer->warn_at.ns) {
		consumer->warn_at = mono_after_ms(now, REPEAT_LOG_MS);
		log_write(loop_observer(consumer->loop)->log, LOG_warn, NULL,
			  SLICE("no memory for messages: they go back to their queue"),
			  &queue, 1);
	}
	amqp_settle(consumer->amqp, delivery, AMQP_retry, CONSUMER_NO_ROOM_MS);
}

static void handle(struct consumer *consumer, struct amqp_delivery *delivery)
{
	struct handling *handling = mem_zeroed(1, sizeof(*handling));
	struct task_config task = {
		.push = push_message,
		.data = handling,
		.deadline = mono_after_ms(loop_now(consumer->loop), CONSUMER_TIMEOUT_MS),
		.done = on_done,
		.context = handling,
	};

	handling->consumer = consumer;
	handling->delivery = delivery;
	handling->began = clock_mono();
	handling->span = begin_span(consumer, delivery);
	task.trace = span_context(handling->span);
	task.span = handling->span;
	consumer->handling++;
	task_start(consumer->vm, &task);
}

void consumer_deliver(struct consumer *consumer, struct amqp_delivery *delivery)
{
	if (vm_has_room(consumer->vm))
		handle(consumer, delivery);
	else
		hand_back(consumer, delivery);
}

bool consumer_idle(const struct consumer *consumer)
{
	return consumer->handling == 0;
}

struct consumer *consumer_create(struct loop *loop, struct vm *vm, struct amqp *amqp,
				 const struct service_consumer *what)
{
	struct consumer *consumer = mem_zeroed(1, sizeof(*consumer));

	consumer->loop = loop;
	consumer->vm = vm;
	consumer->amqp = amqp;
	consumer->what = what;
	return consumer;
}

void consumer_destroy(struct consumer *consumer)
{
	check(!consumer || consumer_idle(consumer));
	free(consumer);
}
