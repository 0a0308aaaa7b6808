/* SPDX-License-Identifier: MIT */
/* passage.h -- what the files of forwarding share: gate, forward, head, cors, tunnel.
 * Nobody else includes it.
 *
 *     limits -> before -> connecting -> head -> passing -> over
 *        any --answered, client left--> over
 *
 * A passage is one request from its arrival to its end. Its request is NULL from the
 * answer on, or once the client has left; then nothing of the request may be touched, and
 * what records say was copied before. A passage whose client leaves while `before` runs
 * stays until that has ended.
 *
 * Order at an end: the attempt is over before the request is answered, for it borrows the
 * request's body.
 */
#ifndef GATE_PASSAGE_H
#define GATE_PASSAGE_H

#include "base/buf.h"
#include "base/list.h"
#include "base/random.h"
#include "gate/gate.h"
#include "gate/limit.h"
#include "http/address_set.h"
#include "http/client_parse.h"
#include "http/request_record.h"
#include "loop/loop.h"

struct gate_tunnel;
struct http_debt;

#define GATE_REQUEST_ID_SIZE 128
#define GATE_HEAD_SIZE_MAX (64u << 10) /* of a request to an upstream */
#define GATE_LINES_MAX 88 /* of the client's and `before`'s; services take 100 in all */
#define GATE_NAMED_MAX 1024 /* bytes of the names in Connection */
#define GATE_HEADERS_MAX (CLIENT_PARSE_HEADERS_MAX + GATE_ANSWER_HEADERS_MAX + 16)
#define GATE_CALLERS 1024 /* lists of tunnels, by client */

struct gate {
	struct loop *loop;
	const struct observer *observer;
	struct gate_upstreams *upstreams;
	struct gate_limiter *limiter;
	struct list passages; /* under way */
	struct list idle; /* to be used again */
	size_t idle_count;
	unsigned busy; /* passages and tunnels under way */
	struct list tunnels; /* open */
	struct list callers[GATE_CALLERS]; /* tunnels, also those not open yet */
	uint64_t seed; /* of the hash of callers */
	struct random random; /* for request ids */
	struct series *active, *open;
	struct buf scratch; /* during one function */
	struct http_header headers[GATE_HEADERS_MAX]; /* of the answer being made */
	char retry_after[24], rate[160]; /* values of headers that are made */
	bool over; /* destroyed, but for a `before` that runs */
};

enum gate_state {
	GATE_limits, /* the limiter decides */
	GATE_before, /* a script decides */
	GATE_waiting, /* for the head of an answer */
	GATE_head, /* it has come, and is not passed on yet */
	GATE_passing /* it is passed on; pieces follow */
};

struct passage {
	struct list member; /* of gate->passages or gate->idle */
	struct gate *gate;
	struct gate_plan *plan;
	struct gate_route *route;
	struct gate_hooks hooks;
	struct http_request *request; /* NULL: answered, or the client has left */
	enum gate_state state;
	struct request_record record;
	struct slice path; /* in normal form; lives as long as the request */
	bool safe, head_request;
	char client[ADDRESS_TEXT_SIZE];
	size_t client_size;
	char id[GATE_REQUEST_ID_SIZE]; /* X-Request-Id */
	size_t id_size;

	struct gate_limit_ticket ticket;
	struct gate_limit_verdict verdict; /* limit NULL: none was asked */
	void *running; /* `before` */
	struct http_debt *debt; /* the client has left while it runs */

	struct mono deadline; /* until the head of the answer */
	struct timer timer; /* that, then idle_timeout_ms */
	struct buf head; /* of the request to the upstream */
	size_t head_fixed; /* the part that all attempts have */
	size_t target_at, target_size; /* the path in it */
	struct gate_attempt_request ask;
	struct gate_attempt own;
	struct gate_attempt *attempt; /* own, or the tunnel's */
	bool attempting; /* it is under way */
	struct gate_tunnel *tunnel; /* an upgrade is asked for; or NULL */
	struct gate_address *tried[GATE_TRIED_MAX];
	size_t tried_count;
	unsigned attempts;
	bool resent; /* after a kept connection that was stale */
	char address[GATE_ADDRESS_TEXT_SIZE]; /* of the last attempt */
	size_t address_size;
	struct span *span; /* of the attempt */
	struct mono attempted; /* when it began */

	const struct client_parse *answer; /* from its head to the end of the attempt */
	int status; /* of the answer */
	struct deferred begin; /* passing on */
	struct buf held; /* pieces that the client has not been given */
	bool taking; /* the client's last piece is on its way */
	bool paused; /* the attempt */
	bool whole; /* all of the answer has come */
	struct mono quiet; /* the upstream has said nothing since */
};

/* --- gate.c ----------------------------------------------------------------------- */

/* One passage or tunnel less is under way. Frees a gate that has ended with its last. */
void gate_left(struct gate *gate);

/* The client has left. */
void passage_gone(void *context);

/* Whom limits and tunnels count: the client's address; of IPv6 its network, in bytes, for
 * whoever holds one of its addresses holds them all. */
struct slice passage_network(const struct passage *passage, uint8_t bytes[16]);

/* --- passage.c -------------------------------------------------------------------- */

/* One to fill in, in gate->passages, with no trace of its last request. */
struct passage *passage_take(struct gate *gate);

/* One that is in no list. */
void passage_free(struct passage *passage);

/* Records and frees the passage, whose attempt is over and whose request is answered or
 * gone. */
void passage_conclude(struct passage *passage, int status, const struct fault *why);

/* Answers with a failure and concludes. The attempt is over. retry_after_s 0: nothing is
 * said about that, but for a bound of our own (503 limit): one second. */
void passage_refuse(struct passage *passage, const struct fault *why,
		    double retry_after_s);

/* Answers with these and concludes. Borrows during the call; headers may be
 * gate->headers. */
void passage_answer(struct passage *passage, int status,
		    const struct http_header *headers, size_t count, struct slice body,
		    const struct fault *why);

/* --- forward.c -------------------------------------------------------------------- */

/* Asks an upstream. set: headers of the request that `before` wants; copied. */
void forward_begin(struct passage *passage, const struct http_header *set, size_t count);

/* The client has left, or the gate ends: the attempt is over after this. */
void forward_abandon(struct passage *passage);

/* Of the attempt, for tunnel.c, which has its events until it is switched. */
void forward_head(void *context, const struct client_parse *answer);
void forward_data(void *context, struct slice bytes);
void forward_done(void *context);
void forward_failed(void *context, const struct http_progress *progress, bool kept,
		    const struct fault *why);

/* The attempt is over: its span and series. status 0: it has none. why NULL: all is
 * well. */
void forward_record(struct passage *passage, int status, const struct fault *why);

/* --- head.c, head_answer.c -------------------------------------------------------- */

/* Writes what all attempts have into passage->head. bad_input: it may not be sent on. */
bool head_write(struct passage *passage, const struct http_header *set, size_t count,
		struct fault *why);

/* Writes what this attempt has, behind it. */
void head_write_attempt(struct passage *passage, const struct trace_context *trace);

/* The headers of an answer, in gate->headers; borrow the answer and the gate until the
 * next answer is made. answer NULL: one of our own. switched: a 101. */
size_t head_answer(struct passage *passage, const struct client_parse *answer,
		   bool switched);

/* Those that every answer has, behind the first count of gate->headers. */
size_t head_own(struct passage *passage, size_t count);

/* The client's X-Request-Id, or a new one. */
void head_request_id(struct passage *passage);

/* Whether a list of names, as Connection has it, holds this one. */
bool head_is_named(struct slice list, struct slice name);

/* What Connection usually says: it names no header that would be kept. */
bool head_names_nothing(struct slice connection);

/* at NULL: there is none. */
struct slice head_find(const struct http_header *headers, size_t count,
		       struct slice name);

/* --- cors.c ----------------------------------------------------------------------- */

/* True: it was a preflight, answered and concluded. */
bool cors_preflight(struct passage *passage);

/* Access-Control-* and Vary of an answer, behind the first count of gate->headers. */
size_t cors_answer(struct passage *passage, size_t count);

/* Whether an upstream's header is in place of ours. */
bool cors_is_ours(const struct gate_plan *plan, struct slice name);

/* --- tunnel.c --------------------------------------------------------------------- */

/* Counts the client's tunnel. False, limit: it has too many. */
bool tunnel_create(struct passage *passage, struct fault *why);

/* Its attempt is over. NULL is allowed. */
void tunnel_destroy(struct gate_tunnel *tunnel);

/* Begins the attempt of the passage, whose events go to the tunnel. */
void tunnel_attempt(struct gate_tunnel *tunnel, struct gate_address *address);

void tunnels_close(struct gate *gate);

#endif
