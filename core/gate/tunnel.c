/* SPDX-License-Identifier: MIT */
/* tunnel.c -- connections that have left HTTP behind: the client's and the upstream's,
 * joined.
 *
 *     asked --101--> open --either side closes--> flushing --written, or 5 s--> (freed)
 *       \--any other answer--> (freed)       \--silent for idle_timeout_ms--> (freed)
 *
 * The bytes mean nothing here. Of each direction one piece is on its way, and what it
 * comes from is not read until it has been taken, but for one piece of the upstream's
 * that was under way. So a tunnel holds three reads at most, however slow either side is.
 *
 * What a side sent before it closed still reaches the other, within FLUSH_MS. A tunnel on
 * which nothing was sent either way for the route's idle_timeout_ms is closed: protocols
 * with longer pauses ping.
 *
 * A client's tunnels are counted from the request on, so that handshakes that hang count.
 */
#include "gate/passage.h"

#include "base/check.h"
#include "http/upgraded.h"
#include "watch/metrics.h"

#include <stdlib.h>

#define FLUSH_MS 5000

struct gate_tunnel {
	struct list member; /* of gate->tunnels, when open */
	struct list caller; /* of one of gate->callers */
	struct gate *gate;
	struct passage *passage; /* NULL: open */
	char client[ADDRESS_TEXT_SIZE];
	size_t client_size;
	struct gate_attempt attempt;
	bool attempting; /* open: it is not over */
	struct http_upgraded *upgraded; /* NULL: not yet, or closed */
	bool to_client, to_upstream; /* a piece is on its way */
	struct buf held; /* for the client */
	struct timer timer;
	struct mono heard; /* either side */
	int idle_ms;
	bool flushing;
};

/* --- how many a client has -------------------------------------------------------- */

static struct list *callers_of(struct gate *gate, struct slice client)
{
	uint64_t hash = gate->seed;

	for (size_t i = 0; i < client.size; i++)
		hash = (hash ^ (unsigned char)client.at[i]) * 0x100000001b3u;
	return &gate->callers[(hash ^ hash >> 32) % GATE_CALLERS];
}

bool tunnel_create(struct passage *passage, struct fault *why)
{
	uint8_t bytes[16];
	struct slice client = passage_network(passage, bytes);
	struct list *callers = callers_of(passage->gate, client);
	unsigned most = passage->route->upgrades_per_client_max, count = 0;
	struct gate_tunnel *tunnel;

	for (struct list *at = callers->next; most && at != callers; at = at->next) {
		tunnel = list_of(at, struct gate_tunnel, caller);
		count += slice_equal(slice_of(tunnel->client, tunnel->client_size),
				     client);
	}
	if (most && count >= most)
		return fault_set(why, FAULT_limit,
				 "%u upgraded connections of this client are open "
				 "already",
				 count);
	tunnel = mem_zeroed(1, sizeof(*tunnel));
	tunnel->gate = passage->gate;
	tunnel->passage = passage;
	memcpy(tunnel->client, client.at, client.size);
	tunnel->client_size = client.size;
	tunnel->idle_ms = passage->route->idle_timeout_ms;
	list_init(&tunnel->member);
	list_append(callers, &tunnel->caller);
	passage->tunnel = tunnel;
	return true;
}

void tunnel_destroy(struct gate_tunnel *tunnel)
{
	check(!tunnel->attempting && !tunnel->upgraded);
	timer_stop(tunnel->gate->loop, &tunnel->timer);
	list_remove(&tunnel->member);
	list_remove(&tunnel->caller);
	buf_finish(&tunnel->held);
	free(tunnel);
}

/* --- ending ----------------------------------------------------------------------- */

static void tunnel_end(struct gate_tunnel *tunnel)
{
	struct gate *gate = tunnel->gate;

	if (tunnel->attempting)
		gate_attempt_cancel(&tunnel->attempt, false);
	tunnel->attempting = false;
	http_upgraded_close(tunnel->upgraded);
	tunnel->upgraded = NULL;
	tunnel_destroy(tunnel);
	series_add(gate->open, -1);
	gate_left(gate);
}

static void on_timer(void *context)
{
	struct gate_tunnel *tunnel = context;
	struct loop *loop = tunnel->gate->loop;
	struct mono due = mono_after_ms(tunnel->heard, tunnel->idle_ms);

	if (tunnel->flushing || loop_now(loop).ns >= due.ns)
		tunnel_end(tunnel);
	else
		timer_start(loop, &tunnel->timer, due, on_timer, tunnel);
}

/* One side has closed; what it sent is still on its way. */
static void flush(struct gate_tunnel *tunnel)
{
	struct loop *loop = tunnel->gate->loop;

	tunnel->flushing = true;
	timer_start(loop, &tunnel->timer, mono_after_ms(loop_now(loop), FLUSH_MS),
		    on_timer, tunnel);
}

void tunnels_close(struct gate *gate)
{
	while (!list_empty(&gate->tunnels))
		tunnel_end(list_of(gate->tunnels.next, struct gate_tunnel, member));
}

/* --- from the client -------------------------------------------------------------- */

static void hear(struct gate_tunnel *tunnel)
{
	tunnel->heard = loop_now(tunnel->gate->loop);
}

static void on_received(void *context, struct slice bytes)
{
	struct gate_tunnel *tunnel = context;

	hear(tunnel);
	if (!tunnel->attempting || bytes.size == 0)
		return; /* for nobody */
	tunnel->to_upstream = true;
	http_upgraded_pause(tunnel->upgraded, true);
	gate_attempt_send(&tunnel->attempt, bytes);
}

static void on_client_drained(void *context)
{
	struct gate_tunnel *tunnel = context;

	tunnel->to_client = false;
	hear(tunnel);
	if (tunnel->held.size) {
		tunnel->to_client = true;
		http_upgraded_send(tunnel->upgraded, buf_slice(&tunnel->held));
		buf_reset(&tunnel->held);
	}
	if (!tunnel->attempting)
		tunnel_end(tunnel);
	else if (!tunnel->to_client)
		gate_attempt_pause(&tunnel->attempt, false);
}

static void on_client_closed(void *context)
{
	struct gate_tunnel *tunnel = context;

	http_upgraded_close(tunnel->upgraded);
	tunnel->upgraded = NULL;
	if (!tunnel->attempting || !tunnel->to_upstream) {
		tunnel_end(tunnel);
		return;
	}
	gate_attempt_pause(&tunnel->attempt,
			   false); /* to see whether it is still there */
	flush(tunnel);
}

static const struct http_upgraded_events client_events = {
	.received = on_received,
	.drained = on_client_drained,
	.closed = on_client_closed,
};

/* --- from the upstream ------------------------------------------------------------ */

static void on_head(void *context, const struct client_parse *answer)
{
	forward_head(((struct gate_tunnel *)context)->passage, answer);
}

static void on_data(void *context, struct slice bytes)
{
	struct gate_tunnel *tunnel = context;

	if (tunnel->passage) {
		forward_data(tunnel->passage, bytes);
		return;
	}
	hear(tunnel);
	if (!tunnel->upgraded || bytes.size == 0)
		return;
	gate_attempt_pause(&tunnel->attempt, true);
	if (tunnel->to_client) {
		buf_append(&tunnel->held, bytes);
		return;
	}
	tunnel->to_client = true;
	http_upgraded_send(tunnel->upgraded, bytes);
}

static void on_done(void *context)
{
	forward_done(((struct gate_tunnel *)context)->passage);
}

static void on_closed(void *context)
{
	struct gate_tunnel *tunnel = context;

	tunnel->attempting = false;
	if (tunnel->upgraded && tunnel->held.size)
		flush(tunnel);
	else
		tunnel_end(tunnel);
}

static void on_failed(void *context, const struct http_progress *progress, bool kept,
		      const struct fault *why)
{
	struct gate_tunnel *tunnel = context;

	if (tunnel->passage)
		forward_failed(tunnel->passage, progress, kept, why);
	else
		on_closed(tunnel);
}

static void on_upstream_drained(void *context)
{
	struct gate_tunnel *tunnel = context;

	tunnel->to_upstream = false;
	hear(tunnel);
	if (tunnel->upgraded)
		http_upgraded_pause(tunnel->upgraded, false);
	else
		tunnel_end(tunnel);
}

/* --- from HTTP to bytes ----------------------------------------------------------- */

static void tunnel_open(struct gate_tunnel *tunnel, const struct client_parse *answer)
{
	struct passage *passage = tunnel->passage;
	struct gate *gate = tunnel->gate;
	struct http_request *request = passage->request;
	size_t count = head_answer(passage, answer, true);
	struct fault none = { 0 };

	tunnel->passage = NULL;
	tunnel->attempting = true;
	tunnel->upgraded =
		http_upgrade(request, gate->headers, count, &client_events, tunnel);
	gate->busy++;
	series_add(gate->open, 1);
	list_append(&gate->tunnels, &tunnel->member);
	passage->tunnel = NULL;
	passage->request = NULL;
	passage->attempting = false;
	forward_record(passage, 101, NULL);
	passage_conclude(passage, 101, &none);
	hear(tunnel);
	on_timer(tunnel);
	http_upgraded_pause(tunnel->upgraded, false);
	gate_attempt_pause(&tunnel->attempt, false);
}

static void on_switched(void *context, const struct client_parse *answer)
{
	struct gate_tunnel *tunnel = context;
	struct slice to =
		head_find(answer->headers, answer->header_count, SLICE("upgrade"));
	struct http_progress nonsense = { true, true, true };
	struct fault why;

	if (slice_equal_nocase(to, SLICE("websocket"))) {
		tunnel_open(tunnel, answer);
		return;
	}
	fault_set(&why, FAULT_broken, "the upstream switched to another protocol");
	gate_attempt_cancel(&tunnel->attempt, true);
	forward_failed(tunnel->passage, &nonsense, false, &why);
}

static const struct gate_attempt_events upstream_events = {
	.head = on_head,
	.data = on_data,
	.done = on_done,
	.failed = on_failed,
	.switched = on_switched,
	.drained = on_upstream_drained,
	.closed = on_closed,
};

void tunnel_attempt(struct gate_tunnel *tunnel, struct gate_address *address)
{
	struct passage *passage = tunnel->passage;

	passage->attempt = &tunnel->attempt;
	gate_attempt_begin(&tunnel->attempt, address, &passage->ask, &upstream_events,
			   tunnel);
}
