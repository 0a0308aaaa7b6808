/* SPDX-License-Identifier: MIT */
/* upstream_inside.h -- what the files of upstreams share. Nobody else includes it.
 *
 *     upstream_text     reads lists of addresses
 *     upstream_names    texts, files and names -> places -> which addresses there are
 *     upstream_address  one address: up or down, its breaker, what series and log say
 *     upstream_health   asks an address how it is
 *     upstream_attempt  connections, and what goes over them (hot path)
 *     upstream          the sets of all that, choosing among addresses
 *
 * An address that is gone keeps its place in upstream->gone while a connection is in use;
 * an upstream that is gone keeps itself as long (upstreams->ghosts). Both are freed by a
 * deferred call only (upstreams_bury), so that whoever is told of an end may still look
 * at them.
 */
#ifndef GATE_UPSTREAM_INSIDE_H
#define GATE_UPSTREAM_INSIDE_H

#include "base/bucket.h"
#include "base/buf.h"
#include "base/list.h"
#include "base/random.h"
#include "gate/upstream.h"
#include "http/http_connection.h"
#include "loop/loop.h"

struct client_lookups;
struct http_url;
struct series;

struct gate_upstreams {
	struct loop *loop;
	struct client_lookups *lookups;
	struct random random;
	struct list all, ghosts; /* upstreams */
	struct deferred bury;
	bool ending; /* nobody is to be asked any more */
};

struct gate_upstream {
	struct list member;
	struct gate_upstreams *upstreams;
	struct gate_upstream_def def; /* its texts are its own */
	bool wanted; /* during gate_upstreams_use */
	struct gate_address **list; /* that may be asked */
	unsigned count;
	unsigned next; /* in list: whose turn it is */
	struct list gone; /* addresses */
	struct list places, files;
	unsigned places_wanted, places_left_out;
	bool too_many; /* the log says so */
	struct fault trouble; /* of the last place or file that failed */
	struct breaker_config breaker;
	struct bucket_rule budget_rule;
	struct bucket budget;
};

struct gate_health { /* zeroed: not watched */
	struct timer timer; /* until the next check, or the end of this one */
	struct http_connection *connection; /* of this check; NULL: none is under way */
	struct buf request;
	struct mono began;
	unsigned failures, successes; /* in a row */
};

enum gate_shown { GATE_SHOWN_none, GATE_SHOWN_up, GATE_SHOWN_down, GATE_SHOWN_open };

struct gate_address {
	struct list member; /* of upstream->gone, while it is */
	struct gate_upstream *upstream;
	struct http_addresses at; /* one */
	char text[GATE_ADDRESS_TEXT_SIZE];
	struct slice whole, host; /* in text */
	unsigned port;
	bool gone, wanted; /* wanted: during upstream_collect */
	bool up;
	struct breaker breaker;
	unsigned era; /* of the breaker: which state since it is known */
	enum gate_shown shown; /* by the series */
	struct gate_health health;
	struct list idle; /* connections, the one used last at the end */
	struct list used; /* opening or busy */
	unsigned opening, busy, idle_count;
	uint64_t attempts, failures;
	char trouble[sizeof(((struct fault *)0)->detail)]; /* the last */
};

/* A connection. In use it has an attempt, except during that attempt's last event. */
struct gate_slot {
	struct list member;
	struct gate_address *address;
	struct http_connection *connection;
	enum { GATE_SLOT_opening, GATE_SLOT_busy, GATE_SLOT_idle } state;
	struct gate_attempt *attempt;
	struct timer timer; /* until it opens; until it has rested too long */
	bool *closed; /* set when it is; or NULL */
};

static inline struct loop *address_loop(const struct gate_address *address)
{
	return address->upstream->upstreams->loop;
}

/* --- upstream.c ------------------------------------------------------------------- */

/* Frees what is gone and not in use, later. */
void upstreams_bury(struct gate_upstreams *upstreams);

/* --- upstream_text.c -------------------------------------------------------------- */

/* One of url and path is set; both are borrowed during the call. */
typedef void upstream_each_fn(void *context, const struct http_url *url,
			      struct slice path);

/* All words or, with the reason, those before the first that cannot be read. files: there
 * may be some. each NULL: only looks. */
bool upstream_text_read(struct slice text, bool files, upstream_each_fn *each,
			void *context, struct fault *why);

/* Appends a list without files; false, with the reason, when it is none. */
bool upstream_file_load(const char *path, struct buf *into, struct fault *why);

/* --- upstream_names.c ------------------------------------------------------------- */

/* Follows the definition's addresses: looks up, reads, and tells upstream_collect. */
void upstream_names_follow(struct gate_upstream *upstream);

/* Stops that and frees it. */
void upstream_names_forget(struct gate_upstream *upstream);

/* --- upstream_address.c ----------------------------------------------------------- */

/* These addresses from now on; one that is there twice counts once. */
void upstream_collect(struct gate_upstream *upstream, const struct http_address *at,
		      size_t count);

/* None from now on. */
void upstream_disband(struct gate_upstream *upstream);

/* Nothing of it is in use. */
void address_destroy(struct gate_address *address);

/* reason: why it is down; NULL when it is up. */
void address_turn(struct gate_address *address, bool up, const char *reason);

void address_trouble(struct gate_address *address, const char *what);

bool address_allows(struct gate_address *address, struct mono now);

/* What an attempt says to the breaker; the first word counts. */
void address_began(struct gate_address *address, struct gate_attempt *attempt);
void address_answers(struct gate_address *address, struct gate_attempt *attempt);
enum gate_word { GATE_WORD_well, GATE_WORD_bad, GATE_WORD_nothing };
void address_told(struct gate_address *address, struct gate_attempt *attempt,
		  enum gate_word word);

/* After a change of the definition. */
void address_breaker_reset(struct gate_address *address);

/* A check that began at that time went well: an older trouble may be over. */
void address_heard(struct gate_address *address, struct mono since);

/* --- upstream_health.c ------------------------------------------------------------ */

/* Begins, goes on or stops, as the definition has it and the address is there. */
void health_follow(struct gate_address *address);
void health_finish(struct gate_address *address);

/* --- upstream_attempt.c ----------------------------------------------------------- */

/* Closes those that have rested longest until there are no more than this. */
void address_trim_idle(struct gate_address *address, unsigned most);

/* Ends what is under way, with failed. */
void address_end_attempts(struct gate_address *address, const struct fault *why);

#endif
