/* SPDX-License-Identifier: MIT */
/* client.c -- calls: what is sent, what came of it, and what is recorded about it.
 *
 * The parts: http_url.c reads the URL, client_request.c writes the request,
 * client_origin.c finds a connection (http_connection.c), client_parse.c reads the
 * answer. Here a call has its deadline, its one repetition, its kind of failure, its span
 * and its series.
 */
#include "http/client.h"

#include "base/arena.h"
#include "base/check.h"
#include "http/address_set.h"
#include "http/client_origin.h"
#include "http/client_record.h"
#include "http/client_request.h"
#include "loop/loop.h"
#include "watch/trace.h"

#include <stdlib.h>

struct http_client {
	struct loop *loop;
	struct http_client_config config;
	struct client_origin_events events;
	struct client_origins *origins;
	struct list calls;
	unsigned delivering; /* a done function is on the stack */
};

struct call {
	struct list member; /* of client->calls */
	struct http_client *client;
	struct arena arena; /* method, URL, trace state */
	struct slice method;
	struct http_url url;
	struct buf request;
	struct client_ticket ticket;
	struct deferred begin;
	struct timer timer; /* chaos delay, then the deadline */
	struct mono began, deadline;
	struct trace_context parent;
	struct span *span;
	struct chaos_effect chaos;
	struct fault early; /* kind none: nothing was wrong with the call itself */
	bool retry_ok;
	bool wrote; /* some of the request, perhaps on an earlier connection */
	unsigned resends;
	http_client_done_fn *done;
	void *context;
};

/* --- what is recorded ------------------------------------------------------------- */

static void span_begin(struct call *call, const struct trace_context *parent)
{
	struct tracer *tracer = loop_observer(call->client->loop)->tracer;
	bool known = client_request_known(call->method);
	struct buf full = { 0 };

	call->parent = *parent;
	call->parent.state = arena_copy(&call->arena, parent->state);
	call->span = span_start(tracer, SPAN_client, known ? call->method : SLICE("HTTP"),
				&call->parent);
	if (!span_recording(call->span))
		return;
	span_attr(call->span, attr_text(SLICE("http.request.method"),
					client_record_method(call->method)));
	if (!known)
		span_attr(call->span,
			  attr_text(SLICE("http.request.method_original"), call->method));
	span_attr(call->span, attr_text(SLICE("server.address"), call->url.host));
	span_attr(call->span, attr_integer(SLICE("server.port"), call->url.port));
	buf_printf(&full, "http://%.*s%s%.*s", SLICE_PRINT(call->url.authority),
		   call->url.path_missing ? "/" : "", SLICE_PRINT(call->url.path));
	span_attr(call->span, attr_text(SLICE("url.full"), buf_slice(&full)));
	buf_finish(&full);
}

static void span_peer(struct call *call)
{
	const struct http_address *peer = &call->ticket.peer;
	char text[ADDRESS_TEXT_SIZE];
	struct address address;
	unsigned port;

	if (peer->size == 0 ||
	    !address_of((const struct sockaddr *)&peer->at, &address, &port))
		return;
	span_attr(call->span, attr_text(SLICE("network.peer.address"),
					address_write(&address, text)));
	span_attr(call->span, attr_integer(SLICE("network.peer.port"), port));
}

static void record(struct call *call, int status, const struct fault *why)
{
	const struct client_record record = {
		.method = client_record_method(call->method),
		.server = call->url.authority,
		.began = call->began,
		.status = status,
		.why = why,
	};

	if (call->span && span_recording(call->span)) {
		span_peer(call);
		if (call->resends > 0)
			span_attr(call->span,
				  attr_integer(SLICE("http.request.resend_count"),
					       call->resends));
	}
	client_record_end(loop_observer(call->client->loop), call->span, &record);
	call->span = NULL;
}

/* --- how a call ends -------------------------------------------------------------- */

static void call_deliver(struct call *call, const struct http_answer *answer,
			 const struct fault *why)
{
	struct http_client *client = call->client;

	list_remove(&call->member);
	loop_undefer(&call->begin);
	timer_stop(client->loop, &call->timer);
	client->delivering++;
	call->done(call->context, answer, why);
	client->delivering--;
	buf_finish(&call->request);
	arena_finish(&call->arena);
	free(call);
}

static void call_fail(struct call *call, const struct fault *why)
{
	client_ticket_withdraw(&call->ticket);
	if (call->url.authority.size > 0)
		record(call, 0, why);
	call_deliver(call, NULL, why);
}

static void on_answered(void *context, struct client_ticket *ticket,
			const struct client_parse *answer)
{
	struct call *call = list_of(ticket, struct call, ticket);
	struct http_answer given = { .status = answer->status,
				     .headers = answer->headers,
				     .header_count = answer->header_count,
				     .body = buf_slice(&answer->body) };

	record(call, answer->status, NULL);
	call_deliver(call, &given, NULL);
}

/* A kept connection that the other side had closed meanwhile says nothing about the call.
 */
static bool may_repeat(const struct call *call, const struct http_progress *progress,
		       bool kept)
{
	return kept && call->resends == 0 && !progress->answered &&
	       (call->retry_ok || !progress->wrote);
}

static void on_failed(void *context, struct client_ticket *ticket,
		      const struct http_progress *progress, bool kept,
		      const struct fault *why)
{
	struct call *call = list_of(ticket, struct call, ticket);
	struct fault kind = *why;

	call->wrote |= progress && progress->wrote;
	if (progress && may_repeat(call, progress, kept)) {
		call->resends++;
		ticket->fresh = true;
		ticket->cut = false;
		client_origin_submit(call->client->origins, &call->url, ticket, true);
		return;
	}
	if (progress && !progress->wrote)
		kind.kind = FAULT_unavailable;
	else if (progress && !progress->nonsense && !client_request_safe(call->method))
		kind.kind = FAULT_uncertain;
	if (kind.kind == FAULT_unavailable && call->wrote &&
	    !client_request_safe(call->method))
		kind.kind = FAULT_uncertain; /* the first connection had it */
	call_fail(call, &kind);
}

static void on_deadline(void *context)
{
	struct call *call = context;
	bool sent = call->ticket.slot != NULL || call->wrote;
	struct fault why;

	fault_set(&why,
		  sent && !client_request_safe(call->method) ? FAULT_uncertain
							     : FAULT_timeout,
		  sent ? "no answer in time" : "no connection in time");
	call_fail(call, &why);
}

/* --- how a call begins ------------------------------------------------------------ */

static void call_submit(struct call *call)
{
	timer_start(call->client->loop, &call->timer, call->deadline, on_deadline, call);
	call->ticket.request = buf_slice(&call->request);
	call->ticket.head_request = slice_equal_nocase(call->method, SLICE("HEAD"));
	call->ticket.cut = call->chaos.cut;
	client_origin_submit(call->client->origins, &call->url, &call->ticket, false);
}

static void call_after_delay(void *context)
{
	struct call *call = context;
	struct fault why;

	if (loop_now(call->client->loop).ns >= call->deadline.ns) {
		on_deadline(call);
	} else if (call->chaos.fail != FAULT_none) {
		fault_set(&why, call->chaos.fail, "chaos at http_call");
		call_fail(call, &why);
	} else {
		call_submit(call);
	}
}

static void call_begin(void *context)
{
	struct call *call = context;
	struct loop *loop = call->client->loop;

	if (call->early.kind != FAULT_none) {
		call_fail(call, &call->early);
		return;
	}
	call->chaos = chaos_point(loop_chaos(loop), CHAOS_http_call);
	if (call->chaos.delay_ms > 0)
		timer_start(
			loop, &call->timer,
			mono_earlier(call->deadline,
				     mono_after_ms(loop_now(loop), call->chaos.delay_ms)),
			call_after_delay, call);
	else
		call_after_delay(call);
}

/* Copies what is needed of the call and writes the request. */
static bool call_prepare(struct call *call, const struct http_call *given,
			 struct fault *why)
{
	struct http_url url;

	call->method = arena_copy(&call->arena, given->method);
	if (!http_url_parse(arena_copy(&call->arena, given->url), &url, why))
		return false;
	call->url = url;
	if (given->trace)
		span_begin(call, given->trace);
	return client_request_write(&call->request, given, &url,
				    call->span ? span_context(call->span) : NULL, why);
}

void http_client_call(struct http_client *client, const struct http_call *given,
		      http_client_done_fn *done, void *context)
{
	struct call *call = mem_zeroed(1, sizeof(*call));

	call->client = client;
	call->began = clock_mono();
	call->deadline = given->deadline;
	call->retry_ok =
		given->retry_stale_ok || client_request_idempotent(given->method);
	call->done = done;
	call->context = context;
	list_append(&client->calls, &call->member);
	call_prepare(call, given, &call->early);
	loop_defer(client->loop, &call->begin, call_begin, call);
}

struct http_client *http_client_create(struct loop *loop,
				       const struct http_client_config *config)
{
	struct http_client *client = mem_zeroed(1, sizeof(*client));

	client->loop = loop;
	client->config = *config;
	client->events = (struct client_origin_events){ on_answered, on_failed, client };
	client->origins = client_origins_create(loop, &client->config, &client->events);
	list_init(&client->calls);
	return client;
}

void http_client_destroy(struct http_client *client)
{
	struct fault why;

	if (client == NULL)
		return;
	check(client->delivering == 0);
	fault_set(&why, FAULT_cancelled, "the client ends");
	while (!list_empty(&client->calls))
		call_fail(list_of(client->calls.next, struct call, member), &why);
	client_origins_destroy(client->origins);
	free(client);
}

void http_client_check(const struct http_client *client)
{
	check(client->delivering == 0);
	client_origins_check(client->origins);
}
