/* SPDX-License-Identifier: MIT */
/* passage.c -- one request from its arrival to its end: its memory, what is recorded of
 * it, and the answers that come from the gate itself. Hot path but for those; the budget
 * stands in forward.c. */
#include "gate/passage.h"

#include "base/check.h"
#include "base/json.h"
#include "base/problem.h"
#include "watch/metrics.h"
#include "watch/observer.h"
#include "watch/trace.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

/* Passages that are kept to be used again, and memory that each of them keeps. */
#define IDLE_MAX 256
#define HEAD_KEPT (16u << 10)
#define HELD_KEPT (64u << 10)

/* All that the last request left, but for memory. */
static void passage_begin(struct passage *passage)
{
	passage->safe = passage->head_request = false;
	passage->verdict.limit = NULL;
	passage->running = NULL;
	passage->debt = NULL;
	passage->attempt = &passage->own;
	passage->attempting = false;
	passage->tunnel = NULL;
	passage->tried_count = 0;
	passage->attempts = 0;
	passage->resent = false;
	passage->address_size = 0;
	passage->span = NULL;
	passage->answer = NULL;
	passage->status = 0;
	passage->taking = passage->paused = passage->whole = false;
	buf_reset(&passage->held);
}

struct passage *passage_take(struct gate *gate)
{
	struct list *member = list_take(&gate->idle);
	struct passage *passage;

	if (member) {
		gate->idle_count--;
		passage = list_of(member, struct passage, member);
	} else {
		passage = mem_zeroed(1, sizeof(*passage));
		passage->gate = gate;
		list_init(&passage->member);
	}
	list_append(&gate->passages, &passage->member);
	gate->busy++;
	series_add(gate->active, 1);
	passage_begin(passage);
	return passage;
}

/* --- recorded --------------------------------------------------------------------- */

static void record(struct passage *passage, int status, const struct fault *why)
{
	struct slice upstream = passage->plan->upstreams[passage->route->upstream].name;
	struct attr more[REQUEST_MORE_MAX];
	struct request_end end = { .status = status, .why = why, .more = more };
	struct span *span = passage->record.span;
	size_t count = 0;

	more[count++] = attr_text(SLICE("upstream"), upstream);
	more[count++] = attr_integer(SLICE("attempts"), passage->attempts);
	if (passage->address_size)
		more[count++] =
			attr_text(SLICE("server.address"),
				  slice_of(passage->address, passage->address_size));
	more[count++] = attr_text(SLICE("client.address"),
				  slice_of(passage->client, passage->client_size));
	more[count++] =
		attr_text(SLICE("request_id"), slice_of(passage->id, passage->id_size));
	end.more_count = count;
	if (span_recording(span)) {
		span_attr(span, attr_text(SLICE("orrery.upstream"), upstream));
		span_attr(span,
			  attr_integer(SLICE("orrery.attempts"), passage->attempts));
	}
	request_record_end(&passage->record, passage->gate->observer, &end);
}

void passage_free(struct passage *passage)
{
	request_record_finish(&passage->record);
	buf_finish(&passage->head);
	buf_finish(&passage->held);
	free(passage);
}

static void passage_give(struct passage *passage)
{
	struct gate *gate = passage->gate;

	list_remove(&passage->member);
	if (__builtin_expect(gate->idle_count >= IDLE_MAX, 0)) {
		passage_free(passage);
	} else {
		if (__builtin_expect(passage->head.capacity > HEAD_KEPT, 0))
			buf_finish(&passage->head);
		if (__builtin_expect(passage->held.capacity > HELD_KEPT, 0))
			buf_finish(&passage->held);
		list_append(&gate->idle, &passage->member);
		gate->idle_count++;
	}
	gate_left(gate);
}

void passage_conclude(struct passage *passage, int status, const struct fault *why)
{
	check(!passage->attempting && !passage->running);
	record(passage, status, why);
	series_add(passage->gate->active, -1);
	timer_stop(passage->gate->loop, &passage->timer);
	loop_undefer(&passage->begin);
	if (passage->tunnel)
		tunnel_destroy(passage->tunnel);
	gate_plan_leave(passage->plan);
	passage_give(passage);
}

/* --- answers of our own: cold ----------------------------------------------------- */

void passage_answer(struct passage *passage, int status,
		    const struct http_header *headers, size_t count, struct slice body,
		    const struct fault *why)
{
	struct http_request *request = passage->request;
	struct http_header *all = passage->gate->headers;

	if (count > CLIENT_PARSE_HEADERS_MAX)
		count = CLIENT_PARSE_HEADERS_MAX;
	if (count && headers != all)
		memcpy(all, headers, count * sizeof(*headers));
	count = head_own(passage, count);
	if (status < 200 || status > 599)
		status = 500;
	passage->request = NULL;
	http_respond(request, status, all, count, body);
	passage_conclude(passage, status, why);
}

void passage_refuse(struct passage *passage, const struct fault *why,
		    double retry_after_s)
{
	struct gate *gate = passage->gate;
	struct buf *text = &gate->scratch;
	struct fault kept = *why;
	size_t count = 0;
	struct json json;
	char id[33];
	int size;

	gate->headers[count++] =
		(struct http_header){ SLICE("content-type"),
				      SLICE("application/problem+json") };
	if (kept.status == 405)
		gate->headers[count++] = (struct http_header){
			SLICE("allow"),
			SLICE("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS")
		};
	if (kept.kind == FAULT_limit && fault_status(&kept) == 503)
		retry_after_s = 1;
	if (retry_after_s > 0) {
		size = snprintf(gate->retry_after, sizeof(gate->retry_after), "%.0f",
				ceil(fmin(retry_after_s, 1e9)));
		gate->headers[count++] =
			(struct http_header){ SLICE("retry-after"),
					      slice_of(gate->retry_after, (size_t)size) };
	}
	buf_reset(text);
	json = json_to(text);
	problem_open(&json, &kept, request_record_trace_id(&passage->record, id));
	json_close_object(&json);
	passage_answer(passage, fault_status(&kept), gate->headers, count,
		       buf_slice(text), &kept);
}
