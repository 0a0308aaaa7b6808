/* SPDX-License-Identifier: MIT */
/* gate_head_fuzz.c -- any request and any answer on their way through the gate: what goes
 * out is read line by line, as the most trusting reader would.
 *
 * The input is parts, with bytes 0xff between: flags and path, query, method, authority,
 * then names and values in turn. The request of the server is a table here: that is why
 * this file has its functions. gate_path_fuzz.c says what a path must be.
 */
#include "base/buf.h"
#include "base/check.h"
#include "gate/passage.h"
#include "watch/trace.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#define PARTS_MAX 128
#define ROUTES_MAX 4
#define BODY SLICE("body")

enum {
	WITH_TUNNEL = 1,
	WITH_BODY = 2, /* and without a tunnel: no request has both */
	WITH_PROXY = 4, /* a trusted one: the client is not the peer */
	WITH_BEFORE = 8 /* the last header is what a script sets */
};

struct http_request {
	struct slice query, method, authority, body;
	struct http_header headers[PARTS_MAX];
	size_t count; /* host is the last */
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* --- the request ------------------------------------------------------------------ */

struct slice http_request_method(const struct http_request *request)
{
	return request->method;
}

struct slice http_request_query(const struct http_request *request)
{
	return request->query;
}

struct slice http_request_body(const struct http_request *request)
{
	return request->body;
}

struct slice http_request_authority(const struct http_request *request)
{
	return request->authority;
}

struct slice http_request_peer(struct http_request *request)
{
	return SLICE("127.0.0.1");
}

struct slice http_request_scheme(const struct http_request *request)
{
	return SLICE("http");
}

size_t http_request_header_count(const struct http_request *request)
{
	return request->count;
}

struct http_header http_request_header_at(const struct http_request *request,
					  size_t index)
{
	check(index < request->count);
	return request->headers[index];
}

struct slice http_request_header(const struct http_request *request, struct slice name)
{
	for (size_t i = 0; i < request->count; i++)
		if (slice_equal(request->headers[i].name, name))
			return request->headers[i].value;
	return slice_of(NULL, 0);
}

struct mono loop_now(const struct loop *loop)
{
	return (struct mono){ 1 };
}

/* Of preflights, which are not asked for here. */
void passage_refuse(struct passage *passage, const struct fault *why,
		    double retry_after_s)
{
	check(false);
}

void passage_answer(struct passage *passage, int status,
		    const struct http_header *headers, size_t count, struct slice body,
		    const struct fault *why)
{
	check(false);
}

/* --- the plan --------------------------------------------------------------------- */

static void add_route(struct gate_plan *plan, const char *prefix, const char *rewrite)
{
	struct gate_route *route = &plan->routes[plan->route_count++];

	check(plan->route_count <= ROUTES_MAX);
	*route = (struct gate_route){ .prefix = slice_text(prefix),
				      .timeout_ms = 1000,
				      .idle_timeout_ms = 1000,
				      .body_size_max = 1000 };
	if (rewrite)
		route->rewrite = slice_text(rewrite);
}

static struct gate_plan *plan_create(void)
{
	struct gate_plan *plan = mem_zeroed(1, sizeof(*plan));
	struct fault why;

	plan->upstreams = arena_alloc(&plan->arena, sizeof(*plan->upstreams));
	plan->upstreams[0] = (struct gate_upstream_def){
		.name = SLICE("up"),
		.addresses = SLICE("http://127.0.0.1:1"),
		.resolve_ms = 1000,
		.connect_timeout_ms = 1000,
		.connections_max = 1,
		.idle_timeout_ms = 1000,
		.retry = { 1, 0, 0 },
	};
	plan->upstream_count = 1;
	plan->routes = arena_alloc(&plan->arena, ROUTES_MAX * sizeof(*plan->routes));
	add_route(plan, "/a/b", "/");
	add_route(plan, "/a/b/c", "/x/");
	add_route(plan, "/", NULL);
	add_route(plan, "/to", "/other/place");
	plan->cors.origins = arena_alloc(&plan->arena, sizeof(*plan->cors.origins));
	plan->cors.origins[0] = SLICE("https://shop.example");
	plan->cors.origin_count = 1;
	plan->answer_headers = arena_alloc(&plan->arena, sizeof(*plan->answer_headers));
	plan->answer_headers[0] =
		(struct http_header){ SLICE("X-Frame-Options"), SLICE("DENY") };
	plan->answer_header_count = 1;
	check(gate_plan_finish(plan, &why));
	return plan;
}

/* --- what an upstream reads ------------------------------------------------------- */

/* Several are of one connection, or would say anew what the gate has said. */
static bool may_never_come(struct slice name)
{
	static const char *const names[] = { "te",
					     "trailer",
					     "keep-alive",
					     "proxy-connection",
					     "expect",
					     "transfer-encoding",
					     "forwarded",
					     "x-real-ip",
					     "http2-settings",
					     "proxy",
					     NULL };

	for (size_t i = 0; names[i]; i++)
		if (slice_equal_nocase(name, slice_text(names[i])))
			return true;
	return slice_equal_nocase(name, SLICE("proxy-authorization"));
}

/* Those that no name in Connection takes away, for they are the gate's own. */
static bool is_own(struct slice name)
{
	static const char *const names[] = { "host",
					     "via",
					     "x-forwarded-for",
					     "x-forwarded-proto",
					     "x-forwarded-host",
					     "x-request-id",
					     "content-length",
					     "traceparent",
					     "x-envoy-expected-rq-timeout-ms",
					     "connection",
					     "upgrade",
					     NULL };

	for (size_t i = 0; names[i]; i++)
		if (slice_equal(name, slice_text(names[i])))
			return true;
	return false;
}

static bool is_named_by_connection(const struct http_header *headers, size_t count,
				   struct slice name)
{
	for (size_t i = 0; i < count; i++)
		if (slice_equal_nocase(headers[i].name, SLICE("connection")) &&
		    head_is_named(headers[i].value, name))
			return true;
	return false;
}

struct seen {
	unsigned host, length, own_id, proto, via, connection;
};

static void check_header(const struct passage *passage, struct slice name,
			 struct slice value, struct seen *seen)
{
	const struct http_request *request = passage->request;
	struct slice text = SLICE("4");

	check(!may_never_come(name));
	for (size_t i = 0; i < name.size; i++)
		check(name.at[i] > 0x20 && name.at[i] < 0x7f &&
		      !(name.at[i] >= 'A' && name.at[i] <= 'Z'));
	for (size_t i = 0; i < value.size; i++)
		check((unsigned char)value.at[i] >= 0x20 || value.at[i] == '\t');
	seen->host += slice_equal(name, SLICE("host"));
	seen->via += slice_equal(name, SLICE("via"));
	seen->own_id += slice_equal(name, SLICE("x-request-id"));
	seen->proto += slice_equal(name, SLICE("x-forwarded-proto"));
	seen->connection += slice_equal(name, SLICE("connection")) ||
			    slice_equal(name, SLICE("upgrade"));
	if (slice_equal(name, SLICE("content-length"))) {
		seen->length++;
		check(slice_equal(value, request->body.size ? text : SLICE("0")));
	}
}

/* False: the line is empty. */
static bool take_line(struct slice *text, struct slice *line)
{
	const char *end = memmem(text->at, text->size, "\r\n", 2);

	check(end);
	*line = slice_of(text->at, (size_t)(end - text->at));
	*text = slice_of(end + 2, text->size - line->size - 2);
	check(!memchr(line->at, '\n', line->size) && !memchr(line->at, '\r', line->size));
	check(!memchr(line->at, 0, line->size));
	return line->size > 0;
}

/* The path that matched, with the rewrite in its prefix' place, and nothing else. */
static void check_request_line(const struct passage *passage, struct slice line)
{
	const struct gate_route *route = passage->route;
	struct slice rest = passage->path, query = passage->request->query;
	struct buf wanted = { 0 };

	buf_append(&wanted, passage->request->method);
	buf_append_byte(&wanted, ' ');
	if (route->rewrite.at) {
		buf_append(&wanted, route->rewrite);
		rest = slice_of(rest.at + route->prefix.size,
				rest.size - route->prefix.size);
		if (rest.size && wanted.at[wanted.size - 1] == '/')
			wanted.size--;
	}
	buf_append(&wanted, rest);
	if (query.size) {
		buf_append_byte(&wanted, '?');
		buf_append(&wanted, query);
	}
	buf_append(&wanted, SLICE(" HTTP/1.1"));
	check(slice_equal(buf_slice(&wanted), line));
	buf_finish(&wanted);
}

static void check_head(const struct passage *passage, const struct http_header *set)
{
	const struct http_request *request = passage->request;
	struct slice text = buf_slice(&passage->head), line, name;
	bool tunnel = passage->tunnel != NULL;
	struct seen seen = { 0 };

	check(take_line(&text, &line));
	check_request_line(passage, line);
	while (take_line(&text, &line)) {
		check(slice_cut(&line, ':', &name) && name.size && line.at);
		check(line.size && line.at[0] == ' ');
		check_header(passage, name, slice_of(line.at + 1, line.size - 1), &seen);
		check(is_own(name) || slice_equal_nocase(name, set->name) ||
		      !is_named_by_connection(request->headers, request->count, name));
	}
	check(text.size == 0);
	check(seen.host == 1 && seen.own_id == 1 && seen.proto == 1);
	check(seen.via == 1 || slice_equal_nocase(set->name, SLICE("via")));
	check(seen.connection == (tunnel ? 2 : 0));
	check(seen.length <= (tunnel ? 0 : 1) && (!request->body.size || seen.length));
}

static void check_request(struct passage *passage, const struct http_header *set)
{
	const struct trace_context trace = { 0 };
	struct fault why;

	if (!head_write(passage, set, set->name.size > 0, &why)) {
		check(why.kind == FAULT_bad_input || why.kind == FAULT_internal);
		return;
	}
	head_write_attempt(passage, &trace);
	check_head(passage, set);
	head_write_attempt(passage, &trace); /* as another attempt would */
	check_head(passage, set);
}

/* --- what a client reads ---------------------------------------------------------- */

static bool is_of_the_upstream(const struct client_parse *answer, const char *at)
{
	for (size_t i = 0; i < answer->header_count; i++)
		if (answer->headers[i].name.at == at)
			return true;
	return false;
}

/* The headers of the request as an upstream's answer. */
static void check_answer(struct passage *passage, struct client_parse *answer)
{
	const struct http_header *headers = passage->gate->headers;
	bool switched = passage->tunnel != NULL;
	size_t count, ids = 0;

	count = head_answer(passage, answer, switched);
	check(count <= GATE_HEADERS_MAX);
	for (size_t i = 0; i < count; i++) {
		struct slice name = headers[i].name;

		ids += slice_equal(name, SLICE("x-request-id"));
		check(!slice_equal(name, SLICE("connection")) &&
		      !slice_equal(name, SLICE("content-length")) &&
		      !slice_equal(name, SLICE("keep-alive")) &&
		      !slice_equal(name, SLICE("transfer-encoding")));
		check(switched || !slice_equal(name, SLICE("upgrade")));
		if (is_of_the_upstream(answer, name.at))
			check(slice_equal(name, SLICE("upgrade")) ||
			      !is_named_by_connection(answer->headers,
						      answer->header_count, name));
	}
	check(ids == 1);
}

/* --- one input -------------------------------------------------------------------- */

/* As h2o has them: names in lower case, and without what says how it was sent. */
static void add_header(struct http_request *request, struct slice name,
		       struct slice value, struct arena *arena)
{
	name = arena_copy(arena, name);
	for (size_t i = 0; i < name.size; i++)
		if (name.at[i] >= 'A' && name.at[i] <= 'Z')
			((char *)(size_t)name.at)[i] |= 0x20;
	request->headers[request->count++] = (struct http_header){ name, value };
}

static void read_request(struct http_request *request, struct slice rest,
			 struct arena *arena)
{
	struct slice name, value;

	slice_cut(&rest, '\xff', &request->query);
	slice_cut(&rest, '\xff', &request->method);
	slice_cut(&rest, '\xff', &request->authority);
	while (request->count < PARTS_MAX - 1 && slice_cut(&rest, '\xff', &name) &&
	       slice_cut(&rest, '\xff', &value))
		add_header(request, name, value, arena);
}

static void run(const struct gate_plan *plan, struct slice rest, unsigned flags)
{
	static struct gate gate; /* zeroed: its scratch is freed below */
	bool body = (flags & (WITH_BODY | WITH_TUNNEL)) == WITH_BODY;
	struct http_request request = { .body = body ? BODY : SLICE("") };
	struct client_parse answer = { .status = 200 };
	struct passage *passage = mem_zeroed(1, sizeof(*passage));
	struct http_header set = { .name = SLICE("") };
	struct arena arena = { 0 };
	struct slice path;

	slice_cut(&rest, '\xff', &path);
	passage->route = gate_plan_match(plan, path, &arena, &passage->path);
	if (passage->route) {
		read_request(&request, rest, &arena);
		answer.header_count = request.count < CLIENT_PARSE_HEADERS_MAX
					      ? request.count
					      : CLIENT_PARSE_HEADERS_MAX;
		memcpy(answer.headers, request.headers,
		       answer.header_count * sizeof(*answer.headers));
		if (flags & WITH_BEFORE && request.count)
			set = request.headers[--request.count];
		if (request.authority.size)
			add_header(&request, SLICE("host"), request.authority, &arena);
		passage->gate = &gate;
		passage->plan = (struct gate_plan *)(size_t)plan;
		passage->request = &request;
		passage->tunnel = flags & WITH_TUNNEL ? (void *)passage : NULL;
		passage->client_size = (size_t)snprintf(
			passage->client, sizeof(passage->client),
			flags & WITH_PROXY ? "203.0.113.9" : "127.0.0.1");
		head_request_id(passage);
		check_request(passage, &set);
		check_answer(passage, &answer);
	}
	buf_finish(&passage->head);
	buf_finish(&gate.scratch);
	free(passage);
	arena_finish(&arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct gate_plan *plan;

	if (size < 1)
		return 0;
	plan = plan_create();
	run(plan, slice_of((const char *)data + 1, size - 1), data[0]);
	gate_plan_destroy(plan);
	return 0;
}
