/* SPDX-License-Identifier: MIT */
/* gate.h -- the reverse proxy of one worker: takes requests that a plan has a route for
 * and answers them with what an upstream says.
 *
 *     taken -> limits -> before? -> attempt -> head -> pieces -> concluded
 *                                     ^  \--> another address, within the retry budget
 *       any --refused | client left--> concluded
 *
 * Request bodies are whole when a request is taken (h2o gives no more) and are forwarded
 * with their exact length. Answers are streamed with back-pressure: a passage holds
 * one piece. A small answer that came whole with its head is sent in one go.
 *
 * Headers. Hop-by-hop ones are taken off both ways (RFC 9110, 7.6.1), those that
 * Connection names too. To the upstream: Host as the client sent it; X-Forwarded-For,
 * the client's address alone (http_request_client: what a client says of itself is
 * thrown away, what a trusted proxy says of it counts), X-Forwarded-Proto and -Host
 * likewise; Via; X-Request-Id, the client's when it is 1 to 128 letters, digits, '.',
 * '_' and '-', else a new one, which the answer has too; traceparent and tracestate
 * of the CLIENT span; what is left of the time in x-envoy-expected-rq-timeout-ms,
 * whatever the client had there. Expect is answered here. Content-Length is the
 * body's own. What would end a line of HTTP/1.1 (HTTP/2 lets it through) is 400.
 *
 * All answers on a route, refusals too, have X-Request-Id, the plan's headers and
 * CORS; on a limited route RateLimit and RateLimit-Policy. A preflight is answered
 * here, before limits; one of an origin that is not allowed is 403.
 *
 * Retries go to another address if there is one: when nothing was sent, with any
 * method; when no byte of the answer had come, with a safe method (GET, HEAD,
 * OPTIONS). Once per request a kept connection that turns out closed costs neither an
 * attempt nor budget; but what it may have taken of an unsafe method is not sent
 * again either.
 *
 * Time. timeout_ms runs from the arrival of the request until the head of the answer,
 * over limits, `before` and all attempts. From then on idle_timeout_ms runs while the
 * upstream has something to say and does not; a slow client is the server's to end.
 *
 * Failures, as problem documents: no address 503 unavailable; all connections in use
 * 503 limit; no answer in time 504 timeout, or 503 uncertain for an unsafe method;
 * nonsense or a lost connection 502 broken, or 503 uncertain for an unsafe method
 * that was sent and not answered; too much 429 limit with Retry-After; 413. Once the
 * head of an answer has been passed on, a failure cuts it off.
 *
 * Tunnels. On a route with upgrade, "Upgrade: websocket" over HTTP/1.1 is passed on,
 * and a 101 joins both connections (tunnel.c says with which bounds). Any other
 * Upgrade, and any on another route, is left out and the request forwarded without
 * it: behind h2c a client would ask for paths that no route has seen. A client above
 * upgrades_per_client_max, which counts its tunnels on all routes, is 429.
 *
 * Limits tell clients by address, those of IPv6 by their network (/64).
 *
 * Records: the server's (request_record.h) with the route's prefix as endpoint; upstream,
 * attempts, server.address, client.address and request_id on the log line,
 * orrery.upstream and orrery.attempts on the span, which ends with the handshake where a
 * tunnel follows; a CLIENT span and http_client_request_duration_seconds per attempt,
 * until it is all read; gateway_retries_total{upstream,outcome} (made, refused);
 * gateway_tunnels (open ones).
 */
#ifndef GATE_GATE_H
#define GATE_GATE_H

#include "gate/plan.h"
#include "gate/upstream.h"

struct loop;
struct redis_pool;
struct trace_context;
struct span;
struct gate;

/* What a route's `before` decided; texts are borrowed during done. */
struct gate_before_result {
	bool go_on;
	/* Going on: set on the request to the upstream. Otherwise: the answer. */
	const struct http_header *headers;
	size_t header_count;
	int status;
	struct slice body;
	/* NULL: it answered as it meant to. With neither headers nor body the answer is
	 * the problem document. */
	const struct fault *why;
};
typedef void gate_before_done_fn(void *context, const struct gate_before_result *result);

/* Runs it; done is called once, later, even when the client has left meanwhile (request
 * is then not to be touched: left, which is called from inside gone, says so). Gives a
 * handle for left. */
struct gate_hooks {
	void *(*before)(void *context, const struct gate_route *route,
			struct http_request *request, struct slice path,
			struct mono deadline, const struct trace_context *trace,
			struct span *span, gate_before_done_fn *done,
			void *done_context);
	void (*left)(void *context, void *running);
	void *context;
};

struct gate_config { /* borrowed */
	struct loop *loop;
	struct redis_pool *redis; /* for limits; NULL: local ones only */
};

struct gate *gate_create(const struct gate_config *config);

/* Its upstreams from now on; passages under way finish with the plan they began with. */
void gate_use(struct gate *gate, struct gate_plan *plan);

/* False: no route fits. Copies hooks; the plan is used until the passage is over
 * (gate_plan_enter). A tunnel uses neither. Hot path. */
bool gate_serve(struct gate *gate, struct gate_plan *plan, const struct gate_hooks *hooks,
		struct http_request *request);

/* Passages and tunnels under way, of all plans; passages whose `before` has not ended,
 * too. */
unsigned gate_busy(const struct gate *gate);

/* Closes the tunnels (a draining worker). */
void gate_close_tunnels(struct gate *gate);

const struct gate_upstreams *gate_upstreams_of(const struct gate *gate);

/* What is under way is answered with 503 cancelled, or cut off. A `before` that runs is
 * told (left) and may still call done: the last one frees what it needs. NULL is allowed.
 */
void gate_destroy(struct gate *gate);

#endif
