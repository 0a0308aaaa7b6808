/* SPDX-License-Identifier: MIT */
/* plan.h -- what a gateway is to do: upstreams, routes, limits, as its script declared
 * them. Made once per generation by whoever reads the script (api/gate_read.c), then only
 * read; it outlives its last passage (gate.h).
 *
 * A route is a prefix of whole path segments: "/api/v1/orders" takes itself and
 * "/api/v1/orders/7", not "/api/v1/orders-old". The longest one that fits wins; "/" takes
 * what nothing else does. A path is compared and forwarded in its normal form (RFC 3986,
 * 6.2.2), so that gateway and service see the same path: "/api/v1/orders/../users" and
 * "%2e%2e" are what they lead to, letters and digits are not escaped, what no path may
 * have ('\\', '#', bytes above 0x7f) is. Escaped slashes stay escaped, and doubled ones
 * doubled. A path that is in its normal form is forwarded as it was sent. One with a
 * malformed escape, with %00 or a control character is missing.
 */
#ifndef GATE_PLAN_H
#define GATE_PLAN_H

#include "base/arena.h"
#include "base/fault.h"
#include "http/request.h"
#include "http/request_record.h"

#define GATE_UPSTREAMS_MAX 64
#define GATE_ROUTES_MAX 256
#define GATE_LIMITS_PER_ROUTE 4
#define GATE_ANSWER_HEADERS_MAX 32

enum gate_balance { GATE_round_robin, GATE_least_busy };

struct gate_upstream_def { /* texts borrow the plan's arena */
	struct slice name;
	/* Where it is. Several, separated by commas or blanks:
	 *   http://host:port        a name may stand for several addresses, all are used
	 *   file:///path            a list as above, without further files, in lines or
	 *                           not; looked at every resolve_ms
	 */
	struct slice addresses;
	enum gate_balance balance;
	int resolve_ms; /* names and files are looked at again */
	int connect_timeout_ms;
	unsigned connections_max; /* per address and worker; beyond it others are asked */
	unsigned idle_max; /* kept connections per address and worker */
	int idle_timeout_ms; /* less than the upstream's own, so that we close first */
	struct { /* active: GET path; 2xx is well; 503 is unready and counts at once */
		struct slice path; /* empty: none */
		int interval_ms;
		int timeout_ms;
		unsigned fall; /* failures in a row until it is down */
		unsigned rise; /* successes in a row until it is up again */
	} health;
	struct { /* per address: connections refused or lost, late or broken answers */
		unsigned failures; /* in a row; 0: none */
		int open_ms;
	} breaker;
	struct { /* per upstream */
		unsigned attempts_max; /* the first included; 1: no retries */
		double ratio; /* retries per request, 0.2: one for five */
		double per_s; /* and this many a second whatever the load */
	} retry;
};

/* By what a limit tells callers apart. */
enum gate_limit_by { GATE_BY_client, GATE_BY_header, GATE_BY_all };

struct gate_limit_def {
	struct slice name; /* names its state in Redis: the same in all replicas */
	enum gate_limit_by by;
	struct slice header; /* lower case; a request without it: by client */
	double requests; /* so many ... */
	double per_s; /* ... in so many seconds, evenly */
	double burst; /* at once; >= 1 */
};

struct gate_route {
	struct slice prefix; /* starts with '/', does not end in one, except "/" */
	/* What stands in place of prefix: starts with '/'; at NULL: prefix itself. */
	struct slice rewrite;
	unsigned upstream; /* index in plan->upstreams */
	int timeout_ms; /* until the head of the answer, all attempts included */
	int idle_timeout_ms; /* between two pieces of the answer */
	size_t body_size_max;
	bool upgrade; /* WebSocket and its like may pass */
	unsigned upgrades_per_client_max; /* open at once, per gateway worker; 0: any */
	unsigned limits[GATE_LIMITS_PER_ROUTE]; /* indexes in plan->limits */
	size_t limit_count;
	int before; /* for hooks->before: its number of the script's function; 0: none */
	/* gate_plan_finish's from here on. */
	struct slice policy; /* RateLimit-Policy: its limits; may be empty */
	struct request_route about;
};

struct gate_cors { /* Fetch standard, 3.2 */
	struct slice *origins; /* "https://shop.example", or the one "*" */
	size_t origin_count; /* 0: no CORS */
	struct slice methods, headers, expose; /* comma-separated header values */
	bool credentials;
	int max_age_s;
};

struct gate_plan {
	struct arena arena;
	struct gate_upstream_def *upstreams;
	size_t upstream_count;
	struct gate_route *routes; /* longest prefix first */
	size_t route_count;
	struct gate_limit_def *limits;
	size_t limit_count;
	struct gate_cors cors;
	struct http_header *answer_headers; /* set on answers that have no such header */
	size_t answer_header_count;
	unsigned passages; /* under way with this plan; gate.c's. Tunnels do not count */
	bool orphan; /* destroyed while there were passages: the last one frees it */
};

/* Sorts routes, checks all of it: bad_input names upstream or route, and the member. */
bool gate_plan_finish(struct gate_plan *plan, struct fault *why);

/* Frees the plan, which is of malloc; with passages under way the last of them does
 * (gate_plan_leave). NULL is allowed. */
void gate_plan_destroy(struct gate_plan *plan);
void gate_plan_enter(struct gate_plan *plan);
void gate_plan_leave(struct gate_plan *plan);

/* The route of a path as it was sent, without its query; normal gets the path to forward
 * (before any rewrite), which is path itself or lies in arena. NULL: none. Hot path. */
struct gate_route *gate_plan_match(const struct gate_plan *plan, struct slice path,
				   struct arena *arena, struct slice *normal);

#endif
