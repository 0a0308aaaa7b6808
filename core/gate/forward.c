/* SPDX-License-Identifier: MIT */
/* forward.c -- a request to an upstream, its answer to the client.
 *
 * Hot path: from forward_begin over forward_head, forward_data and forward_done to
 * http_respond. Budget: a small answer over kept connections takes at most 1.2 times the
 * CPU time that nginx's proxy_pass takes with its access log on, our log line and
 * series included (held by test/bench/gate_bench.py); no locks; no malloc of the gate's
 * own for a path in normal form, once as many passages have been under way at a time.
 *
 * An answer that comes whole with its head goes out as one piece, with its length. Of
 * others the client gets the head at once, when what had come has been looked at. From
 * then on one piece is on its way to the client; while it is, the upstream is not read
 * but for a piece that was under way: so a passage holds two of them at most.
 */
#include "gate/passage.h"

#include "http/client_record.h"
#include "watch/metrics.h"
#include "watch/observer.h"
#include "watch/trace.h"

/* Of an answer that may still be whole by the end of the turn. */
#define HELD_MAX (64u << 10)

static const struct gate_attempt_events attempt_events = {
	.head = forward_head,
	.data = forward_data,
	.done = forward_done,
	.failed = forward_failed,
};

static void on_drained(void *context);

static const struct http_stream_events stream_events = {
	.drained = on_drained,
	.gone = passage_gone,
};

/* --- what is recorded of an attempt ----------------------------------------------- */

static void describe_slow(struct passage *passage, struct gate_address *address)
{
	struct slice method = client_record_method(passage->record.method);
	struct buf *full = &passage->gate->scratch;
	struct span *span = passage->span;

	span_attr(span, attr_text(SLICE("http.request.method"), method));
	span_attr(span, attr_text(SLICE("server.address"), gate_address_host(address)));
	span_attr(span, attr_integer(SLICE("server.port"), gate_address_port(address)));
	if (passage->attempts > 1)
		span_attr(span, attr_integer(SLICE("http.request.resend_count"),
					     passage->attempts - 1));
	buf_reset(full);
	buf_append(full, SLICE("http://"));
	buf_append(full, slice_of(passage->address, passage->address_size));
	buf_append(full,
		   slice_of(passage->head.at + passage->target_at, passage->target_size));
	span_attr(span, attr_text(SLICE("url.full"), buf_slice(full)));
}

void forward_record(struct passage *passage, int status, const struct fault *why)
{
	const struct client_record record = {
		.method = client_record_method(passage->record.method),
		.server = slice_of(passage->address, passage->address_size),
		.began = passage->attempted,
		.status = status,
		.why = why,
	};

	client_record_end(passage->gate->observer, passage->span, &record);
	passage->span = NULL;
}

/* --- the request goes out --------------------------------------------------------- */

static void on_timer(void *context);

static const struct gate_upstream_def *upstream_def(const struct passage *passage)
{
	return &passage->plan->upstreams[passage->route->upstream];
}

static struct gate_address *pick(struct passage *passage, struct gate_upstream **upstream,
				 struct fault *why)
{
	struct slice name = upstream_def(passage)->name;

	*upstream = gate_upstream_find(passage->gate->upstreams, name);
	if (*upstream)
		return gate_upstream_pick(*upstream, passage->tried, passage->tried_count,
					  why);
	fault_set(why, FAULT_unavailable, "upstream %.*s is there no more",
		  SLICE_PRINT(name));
	return NULL;
}

static void note_address(struct passage *passage, struct gate_address *address)
{
	struct slice text = gate_address_text(address);

	passage->address_size = text.size;
	memcpy(passage->address, text.at, text.size);
	if (passage->tried_count < GATE_TRIED_MAX)
		passage->tried[passage->tried_count++] = address;
}

static void attempt(struct passage *passage, struct gate_address *address, bool fresh)
{
	struct tracer *tracer = passage->gate->observer->tracer;

	note_address(passage, address);
	passage->attempts++;
	passage->attempted = clock_mono();
	passage->span = span_start(tracer, SPAN_client, passage->record.method,
				   request_record_trace(&passage->record));
	if (span_recording(passage->span))
		describe_slow(passage, address);
	head_write_attempt(passage, span_context(passage->span));
	passage->ask = (struct gate_attempt_request){
		.head = buf_slice(&passage->head),
		.body = http_request_body(passage->request),
		.head_request = passage->head_request,
		.upgrade = passage->tunnel != NULL,
		.fresh = fresh,
	};
	passage->attempting = true;
	if (__builtin_expect(passage->tunnel != NULL, 0))
		tunnel_attempt(passage->tunnel, address);
	else
		gate_attempt_begin(&passage->own, address, &passage->ask, &attempt_events,
				   passage);
}

void forward_begin(struct passage *passage, const struct http_header *set, size_t count)
{
	struct gate_upstream *upstream;
	struct gate_address *address;
	struct fault why;

	passage->state = GATE_waiting;
	if (__builtin_expect(!head_write(passage, set, count, &why), 0)) {
		passage_refuse(passage, &why, 0);
		return;
	}
	address = pick(passage, &upstream, &why);
	if (__builtin_expect(!address, 0)) {
		passage_refuse(passage, &why, 0);
		return;
	}
	timer_start(passage->gate->loop, &passage->timer, passage->deadline, on_timer,
		    passage);
	attempt(passage, address, false);
}

/* --- the answer comes in ---------------------------------------------------------- */

static void pass_on(void *context);

void forward_head(void *context, const struct client_parse *answer)
{
	struct passage *passage = context;

	passage->state = GATE_head;
	passage->answer = answer;
	passage->status = answer->status;
	passage->quiet = loop_now(passage->gate->loop);
	loop_defer(passage->gate->loop, &passage->begin, pass_on, passage);
}

static void pause(struct passage *passage, bool paused)
{
	if (passage->paused == paused)
		return;
	passage->paused = paused;
	gate_attempt_pause(passage->attempt, paused);
}

void forward_data(void *context, struct slice bytes)
{
	struct passage *passage = context;

	if (bytes.size == 0)
		return;
	passage->quiet = loop_now(passage->gate->loop);
	if (passage->state == GATE_head) {
		if (passage->held.size + bytes.size <= HELD_MAX) {
			buf_append(&passage->held, bytes);
			return;
		}
		pass_on(passage);
	}
	if (!passage->taking) {
		passage->taking = true;
		http_stream_write(passage->request, bytes);
		return;
	}
	buf_append(&passage->held, bytes);
	pause(passage, true);
}

static bool has_no_body(const struct passage *passage)
{
	return passage->head_request || passage->status == 204 || passage->status == 304;
}

static uint64_t length_of(const struct client_parse *answer)
{
	struct slice text =
		head_find(answer->headers, answer->header_count, SLICE("content-length"));
	unsigned long long length;

	return slice_to_uint(text, &length) ? length : HTTP_LENGTH_UNKNOWN;
}

/* --- the answer goes out ---------------------------------------------------------- */

static void finish(struct passage *passage)
{
	struct http_request *request = passage->request;
	struct fault none = { 0 };

	passage->request = NULL;
	http_stream_end(request);
	passage_conclude(passage, passage->status, &none);
}

/* A HEAD tells the length of a body that does not come. */
static void finish_head_slow(struct passage *passage)
{
	size_t count = head_answer(passage, passage->answer, false);

	http_stream_begin(passage->request, passage->status, passage->gate->headers,
			  count, length_of(passage->answer), SLICE(""), &stream_events,
			  passage);
	finish(passage);
}

void forward_done(void *context)
{
	struct passage *passage = context;
	struct http_request *request = passage->request;
	struct fault none = { 0 };
	size_t count;

	passage->attempting = false;
	forward_record(passage, passage->status, NULL);
	if (passage->state == GATE_passing) {
		passage->whole = true;
		if (passage->held.size == 0)
			finish(passage);
		return;
	}
	if (passage->head_request) {
		finish_head_slow(passage);
		return;
	}
	count = head_answer(passage, passage->answer, false);
	passage->request = NULL;
	http_respond(request, passage->status, passage->gate->headers, count,
		     buf_slice(&passage->held));
	passage_conclude(passage, passage->status, &none);
}

static void wait_for_piece(struct passage *passage, struct mono since)
{
	timer_start(passage->gate->loop, &passage->timer,
		    mono_after_ms(since, passage->route->idle_timeout_ms), on_timer,
		    passage);
}

/* Deferred: the answer is not whole by the end of the turn. */
static void pass_on(void *context)
{
	struct passage *passage = context;
	size_t count;

	loop_undefer(&passage->begin);
	if (has_no_body(passage))
		return;
	count = head_answer(passage, passage->answer, false);
	passage->state = GATE_passing;
	passage->taking = true;
	http_stream_begin(passage->request, passage->status, passage->gate->headers,
			  count, length_of(passage->answer), buf_slice(&passage->held),
			  &stream_events, passage);
	buf_reset(&passage->held);
	wait_for_piece(passage, passage->quiet);
}

static void on_drained(void *context)
{
	struct passage *passage = context;

	passage->taking = false;
	if (passage->held.size) {
		passage->taking = true;
		http_stream_write(passage->request, buf_slice(&passage->held));
		buf_reset(&passage->held);
	}
	if (passage->whole) {
		finish(passage);
	} else if (passage->paused) {
		passage->quiet = loop_now(passage->gate->loop);
		pause(passage, false);
	}
}

/* --- it fails: cold --------------------------------------------------------------- */

/* What was passed on is cut off; otherwise the client is told. The attempt is over. */
static void give_up(struct passage *passage, const struct fault *why)
{
	struct http_request *request = passage->request;

	loop_undefer(&passage->begin);
	if (passage->state != GATE_passing) {
		passage_refuse(passage, why, 0);
		return;
	}
	passage->request = NULL;
	http_stream_abort(request);
	if (passage->status < 500) /* the record's end does it for the others */
		span_fail(passage->record.span, slice_text(fault_name(why->kind)),
			  slice_text(why->detail));
	passage_conclude(passage, passage->status, why);
}

static void count_retry(const struct passage *passage, struct slice outcome)
{
	series_add(meter_own(passage->gate->observer->meter, METRIC_gateway_retries,
			     (size_t)2, upstream_def(passage)->name, outcome),
		   1);
}

/* A kept connection that the other side had closed meanwhile says nothing about it: that
 * is neither counted nor asked of the budget. */
static bool may_retry(struct passage *passage, struct gate_upstream *upstream, bool kept)
{
	if (kept && !passage->resent) {
		passage->resent = true;
		return true;
	}
	if (passage->attempts - passage->resent >=
		    upstream_def(passage)->retry.attempts_max ||
	    passage->tried_count == GATE_TRIED_MAX)
		return false;
	if (!gate_upstream_may_retry(upstream)) {
		count_retry(passage, SLICE("refused"));
		return false;
	}
	count_retry(passage, SLICE("made"));
	return true;
}

static bool retry(struct passage *passage, bool kept)
{
	struct gate_upstream *upstream;
	struct gate_address *address;
	struct fault why;

	if (loop_now(passage->gate->loop).ns >= passage->deadline.ns)
		return false;
	address = pick(passage, &upstream, &why);
	if (!address || !may_retry(passage, upstream, kept))
		return false;
	attempt(passage, address, kept);
	return true;
}

void forward_failed(void *context, const struct http_progress *progress, bool kept,
		    const struct fault *given)
{
	struct passage *passage = context;
	bool wrote = progress && progress->wrote;
	bool answered = progress && progress->answered;
	struct fault why = *given;

	passage->attempting = false;
	if (!wrote)
		why.kind = why.kind == FAULT_cancelled ? why.kind : FAULT_unavailable;
	else if (!passage->safe && !answered)
		why.kind = FAULT_uncertain;
	else
		why.kind = FAULT_broken;
	forward_record(passage, 0, &why);
	if (passage->state == GATE_waiting && given->kind != FAULT_cancelled &&
	    (!wrote || (passage->safe && !answered)) && retry(passage, kept))
		return;
	give_up(passage, &why);
}

static void stop(struct passage *passage, bool blame, const struct fault *why)
{
	gate_attempt_cancel(passage->attempt, blame);
	passage->attempting = false;
	forward_record(passage, passage->state == GATE_passing ? passage->status : 0,
		       why);
}

/* Who was asked when most of the time was gone is not to blame. */
static bool is_to_blame(const struct passage *passage)
{
	double seconds = mono_seconds(passage->attempted, clock_mono());

	return seconds * 2000 >= passage->route->timeout_ms;
}

static void on_late(struct passage *passage)
{
	bool sent = passage->attempt->sent;
	struct fault why;

	fault_set(&why, sent && !passage->safe ? FAULT_uncertain : FAULT_timeout,
		  "%s within %d ms",
		  sent ? "the upstream did not answer" : "no connection to the upstream",
		  passage->route->timeout_ms);
	stop(passage, is_to_blame(passage), &why);
	give_up(passage, &why);
}

static void on_timer(void *context)
{
	struct passage *passage = context;
	struct mono now = loop_now(passage->gate->loop);
	struct fault why;

	if (passage->state == GATE_waiting) {
		on_late(passage);
	} else if (passage->whole) {
		return; /* the server sees to slow clients */
	} else if (passage->paused) {
		wait_for_piece(passage, now);
	} else if (now.ns <
		   mono_after_ms(passage->quiet, passage->route->idle_timeout_ms).ns) {
		wait_for_piece(passage, passage->quiet);
	} else {
		fault_set(&why, FAULT_timeout, "the upstream was silent for %d ms",
			  passage->route->idle_timeout_ms);
		stop(passage, true, &why);
		give_up(passage, &why);
	}
}

void forward_abandon(struct passage *passage)
{
	struct fault why;

	loop_undefer(&passage->begin);
	if (!passage->attempting)
		return;
	fault_set(&why, FAULT_cancelled, "the client left");
	stop(passage, false, &why);
}
