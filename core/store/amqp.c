/* SPDX-License-Identifier: MIT */
/* The loops' side: spans, deadlines, counting; the threads are in amqp_publisher.c and
 * amqp_consumer.c. */
#include "store/amqp.h"

#include "base/buf.h"
#include "base/check.h"
#include "store/amqp_consumer.h"
#include "store/amqp_publisher.h"
#include "watch/metrics.h"
#include "watch/trace.h"

#include <stdlib.h>

#define NAME_MAX_BYTES 255 /* of a short string in the protocol */
#define HEADERS_MAX_BYTES 65536 /* all have to fit into one frame */
#define HEADERS_MAX 62 /* and two of our own */
#define CHAOS_RETRY_MS 1000

struct amqp {
	struct amqp_endpoint endpoint;
	struct amqp_publisher *publisher;
	struct amqp_consumer *consumer;
	struct amqp_life *life;
	atomic_bool quiesced;
};

static void deliver(void *context);

struct amqp *amqp_create(const struct amqp_config *config, struct fault *why)
{
	struct amqp *amqp = mem_zeroed(1, sizeof *amqp);

	if (!amqp_endpoint_init(&amqp->endpoint, config->url, config->name, why)) {
		free(amqp);
		return NULL;
	}
	amqp->endpoint.connect_timeout_ms = config->connect_timeout_ms;
	amqp->endpoint.heartbeat_s = config->heartbeat_s;
	atomic_init(&amqp->quiesced, false);
	amqp->life = mem_zeroed(1, sizeof *amqp->life);
	amqp_life_hold(amqp->life);
	amqp->publisher = amqp_publisher_create(&amqp->endpoint, config->publisher,
						config->waiting_max);
	amqp->consumer =
		amqp_consumer_create(&amqp->endpoint, config->consumer,
				     config->delivery_limit, amqp, amqp->life, deliver);
	return amqp;
}

void amqp_destroy(struct amqp *amqp, int grace_ms)
{
	if (!amqp)
		return;
	atomic_store(&amqp->life->over, true);
	amqp_consumer_destroy(amqp->consumer);
	amqp_publisher_destroy(amqp->publisher, grace_ms);
	amqp_endpoint_finish(&amqp->endpoint);
	amqp_life_drop(amqp->life);
	free(amqp);
}

/* --- publishing ------------------------------------------------------------------- */

/* Appends "exchange:key" without empty parts, as the semantic conventions name a
 * destination; gives what was appended, borrowed from text. */
static struct slice destination_of(const struct amqp_message *message, struct buf *text)
{
	size_t start = text->size;

	buf_append(text, message->exchange);
	if (message->exchange.size && message->routing_key.size)
		buf_append_byte(text, ':');
	buf_append(text, message->routing_key);
	if (text->size == start)
		buf_append(text, SLICE("amq.default"));
	return slice_of(text->at + start, text->size - start);
}

static void out_span_start(struct amqp_out *out, const struct trace_context *parent)
{
	const struct amqp_message *message = &out->message;
	const struct amqp_endpoint *endpoint = &out->amqp->endpoint;
	struct trace_context
		kept; /* its state as long as out: the caller's task may end */
	struct slice destination;
	struct buf name = { 0 };
	struct span *span;

	if (parent) {
		kept = *parent;
		kept.state = arena_copy(&out->arena, parent->state);
		parent = &kept;
	}
	buf_append(&name, SLICE("publish "));
	destination = destination_of(message, &name);
	span = out->span = span_start(loop_observer(out->loop)->tracer, SPAN_producer,
				      buf_slice(&name), parent);
	if (span_recording(span)) {
		span_attr(span, attr_text(SLICE("messaging.system"), SLICE("rabbitmq")));
		span_attr(span,
			  attr_text(SLICE("messaging.operation.name"), SLICE("publish")));
		span_attr(span,
			  attr_text(SLICE("messaging.operation.type"), SLICE("send")));
		span_attr(span,
			  attr_text(SLICE("messaging.destination.name"), destination));
		if (message->routing_key.size)
			span_attr(span, attr_text(SLICE("messaging.rabbitmq.destination."
							"routing_key"),
						  message->routing_key));
		if (message->message_id.size)
			span_attr(span, attr_text(SLICE("messaging.message.id"),
						  message->message_id));
		span_attr(span, attr_integer(SLICE("messaging.message.body.size"),
					     (int64_t)message->body.size));
		span_attr(span,
			  attr_text(SLICE("server.address"), slice_text(endpoint->host)));
		span_attr(span, attr_integer(SLICE("server.port"), endpoint->port));
	}
	buf_finish(&name);
}

/* Answers the caller, once. out itself is freed by whoever holds it. */
static void out_answer(struct amqp_out *out, const struct fault *why)
{
	check(!out->answered);
	out->answered = true;
	timer_stop(out->loop, &out->timer);
	if (out->kind == AMQP_OUT_depth) {
		out->depth_done(out->context, why ? 0 : out->depth, why);
		return;
	}
	if (why)
		span_fail(out->span, slice_text(fault_name(why->kind)),
			  slice_text(why->detail));
	span_end(out->span);

	struct buf text = { 0 };
	struct slice destination = destination_of(&out->message, &text);
	struct slice outcome = why ? slice_text(fault_name(why->kind)) : SLICE("ok");

	series_add(meter_own(loop_observer(out->loop)->meter, METRIC_messages_published,
			     2, destination, outcome),
		   1);
	buf_finish(&text);
	out->done(out->context, why);
}

/* Mail from the thread: it has done with out. */
static void out_back(void *context)
{
	struct amqp_out *out = context;

	if (!out->answered && atomic_load(&out->life->over)) {
		timer_stop(out->loop, &out->timer);
		span_end(out->span);
	} else if (!out->answered) {
		out_answer(out, out->failed ? &out->why : NULL);
	}
	amqp_out_free(out);
}

static void out_deadline(void *context)
{
	struct amqp_out *out = context;
	int expected = AMQP_OUT_waiting;
	struct fault why;

	if (atomic_compare_exchange_strong(&out->stage, &expected, AMQP_OUT_abandoned))
		fault_set(&why, FAULT_unavailable,
			  "the message broker took nothing in time");
	else
		fault_set(&why, FAULT_uncertain,
			  "the message broker did not confirm the message in time");
	out_answer(out, &why);
}

/* Never went to the thread. */
static void out_failed(void *context)
{
	struct amqp_out *out = context;

	out_answer(out, &out->why);
	amqp_out_free(out);
}

static void out_fail_later(struct amqp_out *out)
{
	loop_defer(out->loop, &out->deferred, out_failed, out);
}

static void out_send(void *context)
{
	struct amqp_out *out = context;

	timer_start(out->loop, &out->timer, out->deadline, out_deadline, out);
	if (!amqp_publisher_send(out->amqp->publisher, out, &out->why)) {
		timer_stop(out->loop, &out->timer);
		out_fail_later(out);
	}
}

static struct amqp_out *out_create(struct amqp *amqp, struct loop *loop,
				   enum amqp_out_kind kind, struct mono deadline,
				   void *context)
{
	struct amqp_out *out = mem_zeroed(1, sizeof *out);

	out->kind = kind;
	out->amqp = amqp;
	out->life = amqp_life_hold(amqp->life);
	out->loop = loop;
	out->deadline = deadline;
	out->back = out_back;
	out->context = context;
	atomic_init(&out->stage, AMQP_OUT_waiting);
	list_init(&out->member);
	return out;
}

static void header_add(struct amqp_out *out, struct amqp_header *headers,
		       struct slice name, struct slice value)
{
	headers[out->message.header_count++] =
		(struct amqp_header){ arena_copy(&out->arena, name),
				      arena_copy(&out->arena, value) };
}

/* Ours replace what a caller passed on from elsewhere. */
static bool header_is_trace(struct slice name)
{
	return slice_equal_nocase(name, SLICE("traceparent")) ||
	       slice_equal_nocase(name, SLICE("tracestate"));
}

static void out_copy(struct amqp_out *out, const struct amqp_message *message)
{
	struct amqp_message *copy = &out->message;

	copy->exchange = arena_copy(&out->arena, message->exchange);
	copy->routing_key = arena_copy(&out->arena, message->routing_key);
	copy->message_id = arena_copy(&out->arena, message->message_id);
	copy->content_type = arena_copy(&out->arena, message->content_type);
	copy->body = arena_copy(&out->arena, message->body);
}

static void out_copy_headers(struct amqp_out *out, const struct amqp_message *message)
{
	const struct trace_context *trace = span_context(out->span);
	struct amqp_header *headers =
		arena_alloc(&out->arena, (message->header_count + 2) * sizeof *headers);
	char traceparent[TRACEPARENT_SIZE];

	for (size_t i = 0; i < message->header_count; i++)
		if (!header_is_trace(message->headers[i].name))
			header_add(out, headers, message->headers[i].name,
				   message->headers[i].value);
	trace_format(trace, traceparent);
	header_add(out, headers, SLICE("traceparent"), slice_text(traceparent));
	if (trace->state.size)
		header_add(out, headers, SLICE("tracestate"), trace->state);
	out->message.headers = headers;
}

static bool message_fits(const struct amqp_message *message, struct fault *why)
{
	size_t total = 0;

	if (message->exchange.size > NAME_MAX_BYTES ||
	    message->routing_key.size > NAME_MAX_BYTES ||
	    message->message_id.size > NAME_MAX_BYTES ||
	    message->content_type.size > NAME_MAX_BYTES)
		return fault_set(
			why, FAULT_bad_input,
			"exchange, routing key, message id and content type have at "
			"most %d bytes",
			NAME_MAX_BYTES);
	if (message->header_count > HEADERS_MAX)
		return fault_set(why, FAULT_bad_input, "a message has at most %d headers",
				 HEADERS_MAX);
	for (size_t i = 0; i < message->header_count; i++) {
		total += message->headers[i].name.size + message->headers[i].value.size +
			 8;
		if (message->headers[i].name.size > NAME_MAX_BYTES ||
		    total > HEADERS_MAX_BYTES)
			return fault_set(why, FAULT_bad_input,
					 "the message's headers are too large");
	}
	return true;
}

void amqp_publish(struct amqp *amqp, struct loop *loop,
		  const struct amqp_message *message, struct mono deadline,
		  const struct trace_context *trace, amqp_done_fn *done, void *context)
{
	struct amqp_out *out =
		out_create(amqp, loop, AMQP_OUT_message, deadline, context);
	struct chaos_effect effect = chaos_point(loop_chaos(loop), CHAOS_amqp_publish);

	out->done = done;
	out_copy(out, message);
	out_span_start(out, trace);
	if (!message_fits(message, &out->why)) {
		out_fail_later(out);
		return;
	}
	out_copy_headers(out, message);
	if (effect.cut)
		amqp_publisher_cut(amqp->publisher);
	if (effect.fail) {
		fault_set(&out->why, effect.fail, "failed on purpose");
		out_fail_later(out);
	} else if (effect.delay_ms > 0) {
		timer_start(loop, &out->timer,
			    mono_after_ms(loop_now(loop), effect.delay_ms), out_send,
			    out);
	} else {
		out_send(out);
	}
}

void amqp_depth(struct amqp *amqp, struct loop *loop, struct slice queue,
		struct mono deadline, amqp_depth_fn *done, void *context)
{
	struct amqp_out *out = out_create(amqp, loop, AMQP_OUT_depth, deadline, context);

	out->depth_done = done;
	out->message.routing_key = arena_copy(&out->arena, queue);
	if (queue.size > NAME_MAX_BYTES) {
		fault_set(&out->why, FAULT_bad_input,
			  "a queue's name has at most %d bytes", NAME_MAX_BYTES);
		out_fail_later(out);
	} else {
		out_send(out);
	}
}

/* --- consuming -------------------------------------------------------------------- */

struct amqp_subscription *amqp_consume(struct amqp *amqp,
				       const struct amqp_consumer_config *config)
{
	return amqp_consumer_add(amqp->consumer, config);
}

void amqp_unsubscribe(struct amqp *amqp, struct amqp_subscription *subscription)
{
	amqp_consumer_remove(amqp->consumer, subscription);
}

void amqp_quiesce(struct amqp *amqp)
{
	atomic_store(&amqp->quiesced, true);
	amqp_consumer_quiesce(amqp->consumer);
}

static void give_back(struct amqp_in *in, enum amqp_verdict verdict, int delay_ms)
{
	in->verdict = verdict;
	in->delay_ms = delay_ms;
	amqp_consumer_settle(in->amqp->consumer, in);
}

static void deliver_now(void *context)
{
	struct amqp_in *in = context;

	if (atomic_load(&in->amqp->quiesced) || amqp_in_unwanted(in))
		give_back(in, AMQP_retry, 0);
	else
		in->receiver->deliver(in->receiver->context, &in->delivery);
}

static void deliver(void *context)
{
	struct amqp_in *in = context;
	struct chaos_effect effect;
	struct loop *loop;

	atomic_store(&in->arrived, true);
	if (atomic_load(&in->life->over)) {
		amqp_in_free(in);
		return;
	}
	loop = in->receiver->loop;
	effect = chaos_point(loop_chaos(loop), CHAOS_amqp_deliver);
	if (effect.cut)
		amqp_consumer_cut(in->amqp->consumer);
	if (effect.fail)
		give_back(in, AMQP_retry, CHAOS_RETRY_MS);
	else if (effect.delay_ms > 0)
		timer_start(loop, &in->timer,
			    mono_after_ms(loop_now(loop), effect.delay_ms), deliver_now,
			    in);
	else
		deliver_now(in);
}

void amqp_settle(struct amqp *amqp, struct amqp_delivery *delivery,
		 enum amqp_verdict verdict, int delay_ms)
{
	struct amqp_in *in = list_of(delivery, struct amqp_in, delivery);

	if (atomic_load(&in->life->over))
		return; /* it is on its way to be freed by its loop */
	check(in->amqp == amqp);
	give_back(in, verdict, delay_ms);
}

bool amqp_healthy(const struct amqp *amqp, struct fault *why)
{
	return amqp_publisher_healthy(amqp->publisher, why) &&
	       amqp_consumer_healthy(amqp->consumer, why);
}
