/* SPDX-License-Identifier: MIT */
/* pg_link.h -- one PostgreSQL connection in pipeline mode. (libpq owns the tag pg_conn.)
 *
 *     opening --> open --> lost
 *
 * Steps are sent as they come, each followed by its own Sync, and answered in order. A
 * step is answered when its Sync has come back, because only then what it wrote is
 * committed. Its text is prepared on first use, in the same pipeline as its first run;
 * the prepared statements are kept (pg_prepared.h), and one that falls out is
 * deallocated.
 *
 * Invariants
 *   - the owner hears of each step exactly once: stepped, or it takes it back after lost.
 *   - lost comes once, and nothing comes after it.
 */
#ifndef STORE_PG_LINK_H
#define STORE_PG_LINK_H

#include "base/list.h"
#include "store/pg_pool.h"

struct pg_link;
struct pg_target;
struct resolver;

struct pg_step { /* embedded in whoever waits for its answer */
	struct list member;
	struct slice sql; /* terminated */
	const char *const *params; /* terminated texts or NULL */
	int param_count;

	/* What came back; the link fills it. why.kind is FAULT_none unless the server
	 * refused. */
	struct fault why;
	struct pg_error error;
	bool finished; /* the statement has run; only its Sync is missing */

	/* The link's own. */
	uint64_t serial; /* of the prepared statement; 0: none */
	int commands; /* whose results are still to come before the Sync */
	bool preparing;
	bool internal; /* the link's housekeeping; nobody hears of it */
	struct pg_result *result;
};

struct pg_link_owner {
	void (*opened)(void *context);

	/* The step is out of the link. result is borrowed, NULL when step->why tells of a
	 * failure. */
	void (*stepped)(void *context, struct pg_step *step,
			const struct pg_result *result);

	/* Also when opening failed. Not called from inside a function of this header. */
	void (*lost)(void *context, const struct fault *why);

	void *context;
};

/* Begins to open. Borrows loop, target and resolver. */
struct pg_link *pg_link_create(struct loop *loop, const struct pg_target *target,
			       struct resolver *resolver, int connect_timeout_ms,
			       const struct pg_link_owner *owner);

/* Closes. Steps still inside must be taken before. Not from inside the owner's
 * callbacks. */
void pg_link_destroy(struct pg_link *link);

/* The link is open. Takes the step until it is answered. */
void pg_link_send(struct pg_link *link, struct pg_step *step);

/* Writes what could not be written at once; called once a turn. */
void pg_link_flush(struct pg_link *link);

/* The oldest unanswered step, taken back, or NULL. Nothing may be sent any more. */
struct pg_step *pg_link_take(struct pg_link *link);

/* Closes the connection now, without a call to lost; pg_link_destroy is still due. */
void pg_link_close(struct pg_link *link);

/* Breaks the connection as the other side would. */
void pg_link_cut(struct pg_link *link);

/* When no step is inside: whether the server is inside a transaction. */
bool pg_link_in_transaction(const struct pg_link *link);

/* It holds too many prepared statements that cannot be deallocated any more. */
bool pg_link_worn(const struct pg_link *link);

void pg_link_check(const struct pg_link *link);

#endif
