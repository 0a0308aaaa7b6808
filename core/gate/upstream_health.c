/* SPDX-License-Identifier: MIT */
/* upstream_health.c -- asks an address how it is, again and again.
 *
 *     waiting --timer--> connecting -> asked --answer | failure | timer--> waiting
 *
 * Each check has a connection of its own: only a new one shows that the address still
 * accepts any, and which of its workers answers is then left to chance. The first checks
 * lie anywhere within the interval, later ones a tenth around it, so that a gateway of
 * many workers and addresses does not ask all at once. */
#include "gate/upstream_inside.h"

#include <stdio.h>

#define ANSWER_SIZE_MAX (64 * 1024)

static void on_due(void *context);

static void check_again(struct gate_address *address, struct mono due)
{
	struct loop *loop = address_loop(address);

	timer_start(loop, &address->health.timer, due, on_due, address);
}

static void check_over(struct gate_address *address)
{
	struct gate_health *health = &address->health;
	int interval_ms = address->upstream->def.health.interval_ms;
	double jitter = 0.9 + 0.2 * random_unit(&address->upstream->upstreams->random);

	http_connection_close(health->connection);
	health->connection = NULL;
	check_again(address,
		    mono_after_ms(health->began, (int64_t)(interval_ms * jitter)));
}

static void is_well(struct gate_address *address)
{
	struct gate_health *health = &address->health;

	health->failures = 0;
	address_heard(address, health->began);
	if (!address->up && ++health->successes >= address->upstream->def.health.rise)
		address_turn(address, true, NULL);
}

/* failures: what this counts for. */
static void is_not(struct gate_address *address, unsigned failures, const char *reason)
{
	struct gate_health *health = &address->health;
	unsigned fall = address->upstream->def.health.fall;

	address_trouble(address, reason);
	health->successes = 0;
	health->failures += health->failures < fall ? failures : 0;
	if (health->failures >= fall)
		address_turn(address, false, reason);
}

static void on_opened(void *context, struct http_connection *connection)
{
	struct gate_address *address = context;
	struct http_exchange exchange = { .head = buf_slice(&address->health.request),
					  .answer_size_max = ANSWER_SIZE_MAX };

	http_connection_send(connection, &exchange);
}

static void on_answered(void *context, struct http_connection *connection,
			const struct client_parse *answer, bool reusable)
{
	struct gate_address *address = context;
	const struct gate_upstream_def *def = &address->upstream->def;
	char reason[sizeof(address->trouble)];

	snprintf(reason, sizeof(reason), "%.*s says %d", SLICE_PRINT(def->health.path),
		 answer->status);
	if (answer->status >= 200 && answer->status <= 299)
		is_well(address);
	else
		is_not(address, answer->status == 503 ? def->health.fall : 1, reason);
	check_over(address);
}

static void on_ended(void *context, struct http_connection *connection,
		     const struct http_progress *progress, const struct fault *why)
{
	struct gate_address *address = context;

	is_not(address, 1, why->detail);
	check_over(address);
}

static const struct http_connection_events check_events = {
	.opened = on_opened,
	.answered = on_answered,
	.ended = on_ended,
};

static void on_late(void *context)
{
	struct gate_address *address = context;
	const struct gate_upstream_def *def = &address->upstream->def;
	char reason[sizeof(address->trouble)];

	snprintf(reason, sizeof(reason), "%.*s does not answer in %d ms",
		 SLICE_PRINT(def->health.path), def->health.timeout_ms);
	is_not(address, 1, reason);
	check_over(address);
}

static void on_due(void *context)
{
	struct gate_address *address = context;
	struct gate_health *health = &address->health;
	const struct gate_upstream_def *def = &address->upstream->def;
	struct loop *loop = address_loop(address);

	buf_reset(&health->request);
	buf_printf(&health->request,
		   "GET %.*s HTTP/1.1\r\nHost: %s\r\nUser-Agent: orrery-health\r\n"
		   "Connection: close\r\n\r\n",
		   SLICE_PRINT(def->health.path), address->text);
	health->began = loop_now(loop);
	health->connection =
		http_connection_open(loop, &address->at, &check_events, address);
	timer_start(loop, &health->timer,
		    mono_after_ms(health->began, def->health.timeout_ms), on_late,
		    address);
}

void health_finish(struct gate_address *address)
{
	struct gate_health *health = &address->health;

	timer_stop(address_loop(address), &health->timer);
	http_connection_close(health->connection);
	buf_finish(&health->request);
	*health = (struct gate_health){ 0 };
}

void health_follow(struct gate_address *address)
{
	struct gate_upstreams *upstreams = address->upstream->upstreams;
	const struct gate_upstream_def *def = &address->upstream->def;
	uint64_t interval_ms = (uint64_t)def->health.interval_ms;
	struct mono latest =
		mono_after_ms(loop_now(upstreams->loop), def->health.interval_ms);

	if (def->health.path.size == 0) {
		health_finish(address);
		address_turn(address, true, NULL);
	} else if (!timer_started(&address->health.timer)) {
		check_again(address,
			    mono_after_ms(loop_now(upstreams->loop),
					  (int64_t)random_below(&upstreams->random,
								interval_ms)));
	} else if (!address->health.connection &&
		   latest.ns < address->health.timer.due.ns) {
		check_again(address, latest); /* the interval has become shorter */
	}
}
