/* SPDX-License-Identifier: MIT */
/* cors.c -- which scripts of other origins a browser lets read an answer (Fetch standard,
 * 3.2). A route's preflights are answered here; what an upstream says of CORS itself is
 * replaced. Without origins in the plan nothing of this happens. */
#include "gate/passage.h"

#include "base/number.h"

bool cors_is_ours(const struct gate_plan *plan, struct slice name)
{
	return plan->cors.origin_count > 0 && name.size > 15 &&
	       slice_starts_with(name, SLICE("access-control-"));
}

static bool is_any(const struct gate_cors *cors)
{
	return slice_equal(cors->origins[0], SLICE("*"));
}

/* The value of Access-Control-Allow-Origin; at NULL: this one may not. */
static struct slice allowed_origin(const struct gate_cors *cors, struct slice origin)
{
	if (origin.size && is_any(cors))
		return SLICE("*");
	for (size_t i = 0; origin.size && i < cors->origin_count; i++)
		if (slice_equal(cors->origins[i], origin))
			return cors->origins[i];
	return slice_of(NULL, 0);
}

static size_t add(struct gate *gate, size_t count, struct slice name, struct slice value)
{
	if (value.size)
		gate->headers[count++] = (struct http_header){ name, value };
	return count;
}

/* A cache must not give the answer for one origin to another. */
static size_t add_vary(struct gate *gate, size_t count)
{
	struct slice vary = head_find(gate->headers, count, SLICE("vary"));

	if (head_is_named(vary, SLICE("origin")) || head_is_named(vary, SLICE("*")))
		return count;
	return add(gate, count, SLICE("vary"), SLICE("Origin"));
}

size_t cors_answer(struct passage *passage, size_t count)
{
	const struct gate_cors *cors = &passage->plan->cors;
	struct gate *gate = passage->gate;
	struct slice origin = http_request_header(passage->request, SLICE("origin"));
	struct slice allowed = allowed_origin(cors, origin);

	if (!is_any(cors))
		count = add_vary(gate, count);
	if (!allowed.at)
		return count;
	count = add(gate, count, SLICE("access-control-allow-origin"), allowed);
	count = add(gate, count, SLICE("access-control-expose-headers"), cors->expose);
	if (cors->credentials)
		count = add(gate, count, SLICE("access-control-allow-credentials"),
			    SLICE("true"));
	return count;
}

bool cors_preflight(struct passage *passage)
{
	const struct gate_cors *cors = &passage->plan->cors;
	struct http_request *request = passage->request;
	struct http_header headers[3];
	char age[NUMBER_SIZE];
	struct fault none = { 0 }, why;
	size_t count = 0;

	if (cors->origin_count == 0 ||
	    !slice_equal(http_request_method(request), SLICE("OPTIONS")) ||
	    !http_request_header(request, SLICE("access-control-request-method")).at ||
	    !http_request_header(request, SLICE("origin")).at)
		return false;
	if (!allowed_origin(cors, http_request_header(request, SLICE("origin"))).at) {
		fault_set_status(&why, FAULT_denied, 403, "this origin is not allowed");
		passage_refuse(passage, &why, 0);
		return true;
	}
	if (cors->methods.size)
		headers[count++] =
			(struct http_header){ SLICE("access-control-allow-methods"),
					      cors->methods };
	if (cors->headers.size)
		headers[count++] =
			(struct http_header){ SLICE("access-control-allow-headers"),
					      cors->headers };
	headers[count++] =
		(struct http_header){ SLICE("access-control-max-age"),
				      slice_of(age,
					       number_integer(cors->max_age_s, age)) };
	passage_answer(passage, 204, headers, count, SLICE(""), &none);
	return true;
}
