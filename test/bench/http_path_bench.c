/* SPDX-License-Identifier: MIT */
/* http_path_bench.c -- the C part of a request: the budgets that the heads of router.c,
 * server_framing.c and request.c state.
 *
 *     cc -O2 -std=gnu11 -D_GNU_SOURCE -DH2O_USE_LIBUV=0 -Icore -o /tmp/http_path_bench \
 *        test/bench/http_path_bench.c build/release/liborrery_{http,loop,watch,base}.a \
 *        -lh2o-evloop -lwslay -lssl -lcrypto -lz -lm -lpthread
 *
 * Without arguments: nanoseconds of a match and of a look at the framing. With a port:
 * serves there what bare_h2o.c serves, through http_server, router and http_respond, so
 * that the CPU time of both can be compared under wrk.
 */
#include "http/request.h"
#include "http/router.h"
#include "http/server.h"
#include "http/server_framing.h"
#include "loop/loop.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#define CALLS 1000
#define ROUNDS 500

static const char *const templates[] = {
	"/",
	"/health",
	"/ready",
	"/metrics",
	"/api/v1/orders",
	"/api/v1/orders/:id",
	"/api/v1/orders/:id/lines",
	"/api/v1/orders/:id/lines/:line",
	"/api/v1/orders/:id/cancel",
	"/api/v1/orders/latest",
	"/api/v1/users",
	"/api/v1/users/:id",
	"/api/v1/users/me",
	"/api/v1/users/login",
	"/api/v1/users/register",
	"/api/v1/inventory",
	"/api/v1/inventory/:sku",
	"/api/v1/inventory/reserve",
	"/api/v1/inventory/release",
	"/ws",
};

static struct router *make_router(void)
{
	struct router *router = router_create();
	struct fault why;

	for (size_t i = 0; i < sizeof(templates) / sizeof(templates[0]); i++)
		if (!router_add(router, SLICE("GET"), slice_text(templates[i]), NULL,
				&why))
			abort();
	return router;
}

/* The best of the rounds: others use this machine too. */
#define MEASURE(what, call)                                                              \
	do {                                                                             \
		double best = 1e9;                                                       \
		for (int round = 0; round < ROUNDS; round++) {                           \
			struct mono start = clock_mono();                                \
			for (int i = 0; i < CALLS; i++)                                  \
				if (!(call))                                             \
					abort();                                         \
			double spent = mono_seconds(start, clock_mono()) * 1e9 / CALLS;  \
			best = spent < best ? spent : best;                              \
		}                                                                        \
		printf("%-44s %6.1f ns\n", what, best);                                  \
	} while (0)

static void measure(struct router *router)
{
	static const char head[] =
		"GET /api/v1/orders/7/lines HTTP/1.1\r\n"
		"host: 127.0.0.1:8001\r\nuser-agent: bench/1.0\r\n"
		"accept: application/json\r\naccept-encoding: gzip\r\n"
		"connection: keep-alive\r\ncontent-type: application/json\r\n"
		"content-length: 200\r\ntraceparent: 00-0af7651916cd43dd8448eb2"
		"11c80319c-b7ad6b7169203331-01\r\n"
		"authorization: Bearer eyJhbGciOiJIUzI1NiJ9.e30.ZRrHA1JJJW8\r\n\r\n";
	struct router_match match;
	struct buf scratch = { 0 };
	struct fault why;

	MEASURE("router_match, 4 segments, 1 named",
		router_match(router, SLICE("GET"),
			     SLICE("/api/v1/orders/3f2b7c1e-7b0a-4d55-9c9e-0b2a4f6d8e10"),
			     &match, &scratch) == ROUTER_found);
	MEASURE("router_match, 6 segments, 2 named",
		router_match(router, SLICE("GET"),
			     SLICE("/api/v1/orders/latest/lines/12"), &match,
			     &scratch) == ROUTER_found);
	MEASURE("router_match, no such path",
		router_match(router, SLICE("GET"), SLICE("/api/v1/orders/1/2/3"), &match,
			     &scratch) == ROUTER_missing);
	MEASURE("server_framing_check, 10 lines",
		server_framing_check(slice_of(head, sizeof(head) - 1), 1, &why));
}

struct bench {
	struct router *router;
	struct loop *loop;
	struct buf scratch;
	bool later;
};

static void answer(void *context)
{
	const struct http_header header = { SLICE("content-type"),
					    SLICE("application/json") };

	http_respond(context, 200, &header, 1,
		     SLICE("{\"message\":\"hello\",\"id\":42}"));
}

static void serve(void *context, struct http_request *request)
{
	struct bench *bench = context;
	struct router_match match;

	if (router_match(bench->router, http_request_method(request),
			 http_request_path(request), &match,
			 &bench->scratch) != ROUTER_found)
		abort();
	if (bench->later)
		loop_defer(bench->loop,
			   memset(arena_alloc(http_request_arena(request),
					      sizeof(struct deferred)),
				  0, sizeof(struct deferred)),
			   answer, request);
	else
		answer(request);
}

int main(int count, char **args)
{
	struct observer observer = { 0 };
	struct chaos chaos = { 0 };
	struct bench bench = { .router = make_router(), .later = count > 2 };
	struct http_server_config config = {
		.host = SLICE("127.0.0.1"),
		.body_size_max = 1 << 20,
		.requests_max = 1024,
		.connections_max = 1024,
		.idle_timeout_ms = 60000,
		.request_timeout_ms = 10000,
		.handler = serve,
		.context = &bench,
	};
	struct fault why;

	if (count < 2) {
		measure(bench.router);
		return 0;
	}
	signal(SIGPIPE, SIG_IGN);
	config.port = (unsigned)atoi(args[1]);
	bench.loop = loop_create(&observer, &chaos);
	if (!http_server_create(bench.loop, &config, true, &why)) {
		fprintf(stderr, "%s\n", why.detail);
		return 1;
	}
	loop_run(bench.loop);
}
