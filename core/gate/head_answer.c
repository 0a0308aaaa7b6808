/* SPDX-License-Identifier: MIT */
/* head_answer.c -- the headers that a client gets: those of the upstream but for what
 * belongs to its connection, and those that the gate sets. Hot path: part of forward.c's
 * budget. */
#include "gate/passage.h"

#include "base/number.h"

#include <math.h>

/* Of an answer: what is of the connection, or said by the gate. */
static bool answer_drops(const struct passage *passage, struct slice name, bool switched)
{
	switch (name.size) {
	case 2:
		return slice_equal(name, SLICE("te"));
	case 7:
		return slice_equal(name, SLICE("trailer")) ||
		       (!switched && slice_equal(name, SLICE("upgrade")));
	case 9:
		return passage->verdict.limit && slice_equal(name, SLICE("ratelimit"));
	case 10:
		return slice_equal(name, SLICE("connection")) ||
		       slice_equal(name, SLICE("keep-alive"));
	case 12:
		return slice_equal(name, SLICE("x-request-id"));
	case 14:
		return slice_equal(name, SLICE("content-length"));
	case 16:
		return slice_equal(name, SLICE("proxy-connection")) ||
		       (passage->verdict.limit &&
			slice_equal(name, SLICE("ratelimit-policy")));
	case 17:
		return slice_equal(name, SLICE("transfer-encoding"));
	default:
		return false;
	}
}

static struct slice names_of_answer(const struct client_parse *answer,
				    struct buf *scratch)
{
	buf_reset(scratch);
	for (size_t i = 0; i < answer->header_count; i++) {
		const struct http_header *header = &answer->headers[i];

		if (!slice_equal(header->name, SLICE("connection")) ||
		    head_names_nothing(header->value))
			continue;
		buf_append(scratch, header->value);
		buf_append_byte(scratch, ',');
		if (scratch->size > GATE_NAMED_MAX) { /* nobody means that */
			scratch->size = GATE_NAMED_MAX;
			break;
		}
	}
	return buf_slice(scratch);
}

static char *put(char *to, struct slice text)
{
	memcpy(to, text.at, text.size);
	return to + text.size;
}

/* Whole and not negative; reset is rounded up. */
static char *put_number(char *to, double number, double round)
{
	number = number > 0 ? fmin(number + round, 1e9) : 0;
	return to + number_integer((int64_t)number, to);
}

/* draft-ietf-httpapi-ratelimit-headers: "name";r=7;t=3. plan_check.c bounds names. */
static size_t own_rate(struct passage *passage, size_t count)
{
	const struct gate_limit_verdict *verdict = &passage->verdict;
	struct gate *gate = passage->gate;
	char *at = gate->rate;

	if (!verdict->limit)
		return count;
	at = put(at, SLICE("\""));
	at = put(at, verdict->limit->name);
	at = put(at, SLICE("\";r="));
	at = put_number(at, verdict->left, 0);
	at = put(at, SLICE(";t="));
	at = put_number(at, verdict->reset_s, 0.999);
	gate->headers[count++] =
		(struct http_header){ SLICE("ratelimit-policy"), passage->route->policy };
	gate->headers[count++] =
		(struct http_header){ SLICE("ratelimit"),
				      slice_of(gate->rate, (size_t)(at - gate->rate)) };
	return count;
}

size_t head_own(struct passage *passage, size_t count)
{
	const struct gate_plan *plan = passage->plan;
	struct http_header *headers = passage->gate->headers;

	headers[count++] =
		(struct http_header){ SLICE("x-request-id"),
				      slice_of(passage->id, passage->id_size) };
	for (size_t i = 0; i < plan->answer_header_count; i++)
		if (!head_find(headers, count, plan->answer_headers[i].name).at)
			headers[count++] = plan->answer_headers[i];
	count = own_rate(passage, count);
	return plan->cors.origin_count ? cors_answer(passage, count) : count;
}

size_t head_answer(struct passage *passage, const struct client_parse *answer,
		   bool switched)
{
	struct gate *gate = passage->gate;
	struct slice named = names_of_answer(answer, &gate->scratch);
	size_t count = 0;

	for (size_t i = 0; i < answer->header_count; i++) {
		const struct http_header *header = &answer->headers[i];

		if (answer_drops(passage, header->name, switched) ||
		    cors_is_ours(passage->plan, header->name) ||
		    (head_is_named(named, header->name) &&
		     !(switched && slice_equal(header->name, SLICE("upgrade")))))
			continue;
		gate->headers[count++] = *header;
	}
	return head_own(passage, count);
}
