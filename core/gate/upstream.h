/* SPDX-License-Identifier: MIT */
/* upstream.h -- upstreams of one worker: their addresses, which of them are well, and
 * connections to them.
 *
 *     address:  up <--active health--> down        closed/open/half open (breaker.h)
 *     attempt:  begun -> (connecting)? -> sent -> head -> data* -> done | failed
 *                                                   \-> switched (101) -> data*
 *
 * An attempt goes to an address that is up and whose breaker allows it. When there is no
 * such address, those that are down are asked all the same (the service itself then says
 * what is wrong); when breakers are open for all of them, nobody is: unavailable, at
 * once.
 *
 * Addresses come from the definition; names are resolved off the loop, again every
 * resolve_ms, to at most HTTP_ADDRESSES_MAX each; a lookup that fails leaves what is
 * known, and so does a file that cannot be read, is empty, larger than 64 KB or wrong
 * anywhere. At most GATE_ADDRESSES_MAX of an upstream are used. An address that is gone
 * gets no more attempts, and its state is forgotten when its last attempt has ended.
 *
 * When an address turns down, its idle connections are closed: an upstream that is about
 * to end says so by its /ready, and then nothing is on its way on a connection that it
 * closes. Each check is a connection of its own.
 *
 * What ends an attempt is told to the breaker: done and switched say it is well; a
 * connection refused or lost, a broken or late answer (gate_attempt_cancel with blame)
 * say it is not. Cancelled without blame says nothing, and neither does a kept connection
 * that was lost before a byte of the answer came: the other side may have had enough of
 * it. The head of an answer closes a breaker that is half open; a health check that began
 * after one opened and went well makes it half open. Attempts begun before a
 * breaker's last change have no say in it.
 *
 * The retry budget holds at most what ten seconds of per_s and a hundred requests bring.
 *
 * Series: gateway_upstream_addresses{upstream,state} (up, down, open),
 * gateway_breaker_transitions_total{upstream,address,to}; a log line when an address
 * turns up or down and when a breaker opens or closes.
 *
 * Invariants
 *   - per address: opening + busy <= connections_max, as it was when they began; idle <=
 *     idle_max.
 *   - an attempt is told of once how it ended, and of nothing afterwards.
 */
#ifndef GATE_UPSTREAM_H
#define GATE_UPSTREAM_H

#include "base/breaker.h"
#include "gate/plan.h"
#include "http/http_connection.h"

struct loop;
struct gate_upstreams;
struct gate_upstream;
struct gate_address;
struct gate_slot;
struct gate_attempt;

#define GATE_TRIED_MAX 8
#define GATE_ADDRESSES_MAX 256
#define GATE_ADDRESS_TEXT_SIZE 56 /* "[IPv6]:65535" and a NUL */

/* All from the loop, never from inside a function of this file. */
struct gate_attempt_events {
	/* The head of the answer has come; answer is borrowed until the attempt ends,
	 * during done included; its body is not in it. Final answers only (200 to 599).
	 */
	void (*head)(void *context, const struct client_parse *answer);
	/* A piece of the body, or of the other protocol; borrowed during the call. */
	void (*data)(void *context, struct slice bytes);
	/* All of the answer has come. The attempt is over. */
	void (*done)(void *context);
	/* It ended otherwise: is over. kept: on a connection that had been used before,
	 * which the other side may have closed meanwhile. */
	void (*failed)(void *context, const struct http_progress *progress, bool kept,
		       const struct fault *why);
	/* 101: bytes both ways from here on; begins paused. */
	void (*switched)(void *context, const struct client_parse *answer);
	/* Switched: what was given to gate_attempt_send has been written. */
	void (*drained)(void *context);
	/* Switched: the other side has closed. The attempt is over. */
	void (*closed)(void *context);
};

struct gate_attempt { /* embedded; the members are upstream_attempt.c's; zeroed: over */
	struct gate_address *address; /* NULL: over */
	struct gate_slot *slot; /* its connection */
	const struct gate_attempt_events *events;
	void *context;
	struct http_exchange exchange;
	unsigned era; /* of the breaker, when it began */
	bool told; /* to the breaker */
	bool sent, paused, switched, kept;
};

struct gate_attempt_request { /* borrowed until the attempt is over */
	struct slice head; /* request line and headers, with the empty line */
	struct slice body;
	bool head_request;
	bool upgrade; /* 101 is expected */
	bool fresh; /* a kept connection will not do */
};

struct gate_upstreams *gate_upstreams_create(struct loop *loop);

/* Attempts under way fail with cancelled, inside. NULL is allowed. */
void gate_upstreams_destroy(struct gate_upstreams *upstreams);

/* These definitions from now on; copies them. What is known of addresses that stay is
 * kept, and health checks go on as they were. */
void gate_upstreams_use(struct gate_upstreams *upstreams,
			const struct gate_upstream_def *defs, size_t count);

/* NULL: there is none by this name. Borrowed until the next gate_upstreams_use. */
struct gate_upstream *gate_upstream_find(struct gate_upstreams *upstreams,
					 struct slice name);

/* Chooses an address, one not in tried if there is any. NULL: unavailable (none known,
 * none allowed) or limit (503: all at connections_max). Borrowed until gate_attempt_begin
 * or the end of the callback; with an attempt, until the end of the event that ended it.
 * Afterwards it may still stand in tried. */
struct gate_address *gate_upstream_pick(struct gate_upstream *upstream,
					struct gate_address *const *tried,
					size_t tried_count, struct fault *why);
/* "127.0.0.1:8001"; shorter than GATE_ADDRESS_TEXT_SIZE. */
struct slice gate_address_text(const struct gate_address *address);
struct slice gate_address_host(const struct gate_address *address);
unsigned gate_address_port(const struct gate_address *address);

/* Whether a definition's addresses can be read: bad_input names the one that cannot. */
bool gate_addresses_good(struct slice addresses, struct fault *why);

/* Takes a token of the upstream's retry budget; each gate_upstream_pick with tried_count
 * 0 earns `ratio` of one. False: there is none. */
bool gate_upstream_may_retry(struct gate_upstream *upstream);

/* attempt is zeroed or over. Connects if no kept connection is there. The caller keeps
 * the deadline. */
void gate_attempt_begin(struct gate_attempt *attempt, struct gate_address *address,
			const struct gate_attempt_request *request,
			const struct gate_attempt_events *events, void *context);

/* Reading of the answer stops and goes on. An event that was under way may still come. */
void gate_attempt_pause(struct gate_attempt *attempt, bool paused);

/* Switched: copies; one piece until drained. */
void gate_attempt_send(struct gate_attempt *attempt, struct slice bytes);

/* Over; no event follows; its connection is closed. Does nothing when it is over. */
void gate_attempt_cancel(struct gate_attempt *attempt, bool blame);

/* --- looking on ------------------------------------------------------------------- */

struct gate_address_view { /* borrowed during the call */
	struct slice upstream;
	/* Empty: the upstream has none; trouble may say why, the rest is zeroed. */
	struct slice address;
	bool up;
	enum breaker_state breaker;
	unsigned active; /* attempts */
	unsigned idle; /* connections */
	uint64_t attempts, failures; /* since it is known */
	struct slice trouble; /* of its last failure; may be empty */
};
void gate_upstreams_look(const struct gate_upstreams *upstreams,
			 void (*see)(void *context, const struct gate_address_view *view),
			 void *context);

void gate_upstreams_check(const struct gate_upstreams *upstreams);

#endif
