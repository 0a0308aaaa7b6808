/* SPDX-License-Identifier: MIT */
/* plan_check.c -- what a plan may hold, and what is prepared of it for the hot path. */
#include "gate/plan.h"

#include "base/buf.h"
#include "gate/upstream.h"
#include "http/client_request.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define NAME_SIZE_MAX 64
#define TIME_MS_MAX (24 * 3600 * 1000)
#define NUMBER_MAX 1e9
#define RATE_FIELD_MAX 999999999999999.0 /* RFC 9651, 3.3.1 */

/* "upstream orders: balance ..." */
static bool wrong(struct fault *why, const char *what, struct slice name,
		  const char *member)
{
	return fault_set(why, FAULT_bad_input, "%s %.*s: %s", what, SLICE_PRINT(name),
			 member);
}

static bool is_name(struct slice text)
{
	for (size_t i = 0; i < text.size; i++) {
		char c = text.at[i];

		if (!(c >= 'a' && c <= 'z') && !(c >= 'A' && c <= 'Z') &&
		    !(c >= '0' && c <= '9') && !strchr("_.-", c))
			return false;
	}
	return text.size > 0 && text.size <= NAME_SIZE_MAX;
}

static bool is_time(int ms)
{
	return ms > 0 && ms <= TIME_MS_MAX;
}

static bool is_number(double number, double least)
{
	return isfinite(number) && number >= least && number <= NUMBER_MAX;
}

/* As it may stand in a request line. */
static bool is_path(struct slice path)
{
	struct arena arena = { 0 };
	struct gate_route any = { .prefix = SLICE("/") };
	struct gate_plan plan = { .routes = &any, .route_count = 1 };
	struct slice normal;
	bool good = path.size > 0 && path.at[0] == '/' &&
		    gate_plan_match(&plan, path, &arena, &normal) &&
		    slice_equal(path, normal);

	arena_finish(&arena);
	return good;
}

/* --- upstreams -------------------------------------------------------------------- */

static bool upstream_good(const struct gate_upstream_def *def, struct fault *why)
{
	const char *member = NULL;
	struct fault inner;

	if (!is_name(def->name))
		member = "the name is not of letters, digits, '_', '.' and '-'";
	else if (def->addresses.size == 0)
		member = "it has no address";
	else if (!gate_addresses_good(def->addresses, &inner))
		member = inner.detail;
	else if (!is_time(def->resolve_ms))
		member = "resolve_ms is not from 1 to a day";
	else if (!is_time(def->connect_timeout_ms))
		member = "connect_timeout_ms is not from 1 to a day";
	else if (def->connections_max == 0)
		member = "connections_max is not positive";
	else if (!is_time(def->idle_timeout_ms))
		member = "idle_timeout_ms is not from 1 to a day";
	else if (def->health.path.size > 0 && !is_path(def->health.path))
		member = "health.path is not a path in normal form";
	else if (def->health.path.size > 0 &&
		 (!is_time(def->health.interval_ms) || !is_time(def->health.timeout_ms)))
		member = "a time of health is not from 1 to a day";
	else if (def->health.path.size > 0 && (!def->health.fall || !def->health.rise))
		member = "health.fall or health.rise is not positive";
	else if (def->breaker.failures > 0 && !is_time(def->breaker.open_ms))
		member = "breaker.open_ms is not from 1 to a day";
	else if (!def->retry.attempts_max)
		member = "retry.attempts_max is not positive";
	else if (!is_number(def->retry.ratio, 0) || !is_number(def->retry.per_s, 0))
		member = "retry.ratio or retry.per_s is negative or too large";
	return !member || wrong(why, "upstream", def->name, member);
}

static bool upstreams_good(const struct gate_plan *plan, struct fault *why)
{
	if (plan->upstream_count > GATE_UPSTREAMS_MAX)
		return fault_set(why, FAULT_bad_input, "there are more than %d upstreams",
				 GATE_UPSTREAMS_MAX);
	for (size_t i = 0; i < plan->upstream_count; i++) {
		const struct gate_upstream_def *def = &plan->upstreams[i];

		if (!upstream_good(def, why))
			return false;
		for (size_t k = 0; k < i; k++)
			if (slice_equal(def->name, plan->upstreams[k].name))
				return wrong(why, "upstream", def->name,
					     "it is there twice");
	}
	return true;
}

/* --- limits ----------------------------------------------------------------------- */

static bool limit_good(const struct gate_limit_def *def, struct fault *why)
{
	const struct http_header header = { def->header, SLICE("") };
	const char *member = NULL;

	if (!is_name(def->name))
		member = "the name is not of letters, digits, '_', '.' and '-'";
	else if (def->by == GATE_BY_header && !client_request_header_good(&header))
		member = "what it goes by is no name of a header";
	else if (!(def->requests > 0) || !is_number(def->requests, 0))
		member = "requests is not positive";
	else if (!(def->per_s > 0) || !is_number(def->per_s, 0))
		member = "per_s is not positive";
	else if (!is_number(def->burst, 1))
		member = "burst is below 1";
	else if (def->burst * def->per_s / def->requests > RATE_FIELD_MAX)
		member = "it would take too long until its burst is whole";
	return !member || wrong(why, "limit", def->name, member);
}

static bool limits_good(const struct gate_plan *plan, struct fault *why)
{
	for (size_t i = 0; i < plan->limit_count; i++) {
		const struct gate_limit_def *def = &plan->limits[i];

		if (!limit_good(def, why))
			return false;
		for (size_t k = 0; k < i; k++)
			if (slice_equal(def->name, plan->limits[k].name))
				return wrong(why, "limit", def->name,
					     "it is there twice");
	}
	return true;
}

/* --- routes ----------------------------------------------------------------------- */

static bool route_good(const struct gate_plan *plan, const struct gate_route *route,
		       struct fault *why)
{
	const char *member = NULL;

	if (!is_path(route->prefix) ||
	    (route->prefix.size > 1 && slice_ends_with(route->prefix, SLICE("/"))))
		member = "the prefix is not a path in normal form without '/' at its end";
	else if (route->rewrite.at && !is_path(route->rewrite))
		member = "rewrite is not a path in normal form";
	else if (route->upstream >= plan->upstream_count)
		member = "it has no upstream";
	else if (!is_time(route->timeout_ms) || !is_time(route->idle_timeout_ms))
		member = "timeout_ms or idle_timeout_ms is not from 1 to a day";
	else if (route->limit_count > GATE_LIMITS_PER_ROUTE)
		member = "it has too many limits";
	else if (route->before < 0)
		member = "before is negative";
	for (size_t i = 0; !member && i < route->limit_count; i++)
		if (route->limits[i] >= plan->limit_count)
			member = "there is no such limit";
	return !member || wrong(why, "route", route->prefix, member);
}

static bool routes_good(const struct gate_plan *plan, struct fault *why)
{
	if (plan->route_count > GATE_ROUTES_MAX)
		return fault_set(why, FAULT_bad_input, "there are more than %d routes",
				 GATE_ROUTES_MAX);
	for (size_t i = 0; i < plan->route_count; i++) {
		if (!route_good(plan, &plan->routes[i], why))
			return false;
		for (size_t k = 0; k < i; k++)
			if (slice_equal(plan->routes[i].prefix, plan->routes[k].prefix))
				return wrong(why, "route", plan->routes[i].prefix,
					     "it is there twice");
	}
	return true;
}

/* --- CORS and headers ------------------------------------------------------------- */

static bool value_good(struct slice value)
{
	const struct http_header header = { SLICE("x"), value };

	return client_request_header_good(&header);
}

/* "https://shop.example", "http://localhost:3000": as browsers send it. */
static bool is_origin(struct slice text)
{
	struct slice scheme;

	if (slice_equal(text, SLICE("*")))
		return true;
	if (!slice_cut(&text, ':', &scheme) || scheme.size == 0 || text.size < 3 ||
	    !slice_starts_with(text, SLICE("//")))
		return false;
	for (size_t i = 2; i < text.size; i++)
		if (text.at[i] <= 0x20 || text.at[i] >= 0x7f ||
		    strchr("/?#@,", text.at[i]))
			return false;
	return true;
}

static bool cors_good(const struct gate_cors *cors, struct fault *why)
{
	bool any = false;

	for (size_t i = 0; i < cors->origin_count; i++) {
		if (!is_origin(cors->origins[i]))
			return wrong(why, "cors", cors->origins[i],
				     "it is no origin: scheme://host, :port");
		any = any || slice_equal(cors->origins[i], SLICE("*"));
	}
	if (any && (cors->origin_count > 1 || cors->credentials))
		return fault_set(why, FAULT_bad_input,
				 "cors: origin \"*\" goes neither with others nor with "
				 "credentials");
	if (!value_good(cors->methods) || !value_good(cors->headers) ||
	    !value_good(cors->expose))
		return fault_set(why, FAULT_bad_input,
				 "cors: methods, headers or expose has a bad character");
	if (cors->max_age_s < 0)
		return fault_set(why, FAULT_bad_input, "cors: max_age_s is negative");
	return true;
}

static bool headers_good(const struct gate_plan *plan, struct fault *why)
{
	if (plan->answer_header_count > GATE_ANSWER_HEADERS_MAX)
		return fault_set(why, FAULT_bad_input,
				 "there are more than %d headers for answers",
				 GATE_ANSWER_HEADERS_MAX);
	for (size_t i = 0; i < plan->answer_header_count; i++)
		if (!client_request_header_good(&plan->answer_headers[i]))
			return wrong(why, "header", plan->answer_headers[i].name,
				     "it has a bad character");
	return true;
}

/* --- preparing -------------------------------------------------------------------- */

/* draft-ietf-httpapi-ratelimit-headers, 3: q requests in w seconds. A burst that is whole
 * again after w seconds says the same. */
static struct slice write_policy(struct gate_plan *plan, const struct gate_route *route)
{
	struct buf text = { 0 };
	struct slice policy;

	for (size_t i = 0; i < route->limit_count; i++) {
		const struct gate_limit_def *limit = &plan->limits[route->limits[i]];

		buf_printf(&text, "%s\"%.*s\";q=%.0f;w=%.0f", i ? ", " : "",
			   SLICE_PRINT(limit->name), floor(limit->burst),
			   ceil(limit->burst * limit->per_s / limit->requests));
	}
	policy = arena_copy(&plan->arena, buf_slice(&text));
	buf_finish(&text);
	return policy;
}

static int longer_first(const void *a, const void *b)
{
	const struct gate_route *one = a, *other = b;

	if (one->prefix.size != other->prefix.size)
		return one->prefix.size > other->prefix.size ? -1 : 1;
	return memcmp(one->prefix.at, other->prefix.at, one->prefix.size);
}

bool gate_plan_finish(struct gate_plan *plan, struct fault *why)
{
	if (!upstreams_good(plan, why) || !limits_good(plan, why) ||
	    !routes_good(plan, why) || !cors_good(&plan->cors, why) ||
	    !headers_good(plan, why))
		return false;
	for (size_t i = 0; i < plan->route_count; i++) {
		struct gate_route *route = &plan->routes[i];

		route->about.path = route->prefix;
		route->policy = write_policy(plan, route);
	}
	if (plan->route_count > 1)
		qsort(plan->routes, plan->route_count, sizeof(*plan->routes),
		      longer_first);
	return true;
}
