/* SPDX-License-Identifier: MIT */
/* pg_link.c -- libpq's non-blocking interface on the loop.
 *
 * While libpq connects it may swap its socket for another, even with the same number, so
 * the loop's watch is made anew after each of its steps, and it wants only what libpq
 * asks for.
 */
#include "store/pg_link.h"

#include "base/check.h"
#include "loop/loop.h"
#include "store/pg_prepared.h"
#include "store/pg_result.h"
#include "store/pg_target.h"
#include "store/resolve.h"
#include "watch/log.h"

#include <libpq-fe.h>
#include <stdlib.h>
#include <sys/socket.h>

#define LEAKED_MAX 64

struct pg_link {
	struct loop *loop;
	const struct pg_target *target;
	struct resolver *resolver;
	struct pg_link_owner owner;
	struct resolve *resolve; /* while the name is looked up */
	struct timer timer; /* while opening */
	struct deferred broken; /* lost is due */
	struct pg_conn *native; /* libpq's PGconn */
	struct loop_fd *watch;
	bool open;
	bool ended; /* lost, closed or about to be */
	bool writing; /* the watch wants to write */
	struct fault why; /* of the end */
	struct list steps;
	struct pg_prepared prepared;
	unsigned leaked; /* prepared statements at the server that we forgot */
};

static void ready(void *context, bool readable, bool writable);

static void close_native(struct pg_link *link)
{
	resolve_cancel(link->resolve);
	link->resolve = NULL;
	timer_stop(link->loop, &link->timer);
	loop_fd_destroy(link->watch);
	link->watch = NULL;
	if (link->native)
		PQfinish(link->native);
	link->native = NULL;
	link->open = false;
}

static void report_loss(void *context)
{
	struct pg_link *link = context;

	close_native(link);
	link->owner.lost(link->owner.context, &link->why);
}

/* Reports the loss later in this turn. */
static void lose(struct pg_link *link, const char *words)
{
	if (link->ended)
		return;
	link->ended = true;
	fault_set(&link->why, FAULT_unavailable, "PostgreSQL: %.*s",
		  (int)strcspn(words, "\n"), words);
	loop_defer(link->loop, &link->broken, report_loss, link);
}

static void lose_natively(struct pg_link *link)
{
	const char *words = PQerrorMessage(link->native);

	lose(link, words && *words ? words : "the connection was lost");
}

/* --- opening ---------------------------------------------------------------------- */

static void notice(void *context, const PGresult *result)
{
	const struct pg_link *link = context;
	const char *words = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);

	log_printf(loop_observer(link->loop)->log, LOG_debug, "PostgreSQL notice: %.200s",
		   words ? words : "");
}

static void watch_anew(struct pg_link *link, bool read, bool write)
{
	loop_fd_destroy(link->watch);
	link->watch = loop_fd_create(link->loop, PQsocket(link->native), ready, link);
	loop_fd_want(link->watch, read, write);
}

static void opened(struct pg_link *link)
{
	timer_stop(link->loop, &link->timer);
	if (PQsetnonblocking(link->native, 1) != 0 ||
	    PQenterPipelineMode(link->native) != 1) {
		lose_natively(link);
		return;
	}
	watch_anew(link, true, false);
	link->open = true;
	link->owner.opened(link->owner.context);
}

static void connect_on(struct pg_link *link)
{
	switch (PQconnectPoll(link->native)) {
	case PGRES_POLLING_READING:
		watch_anew(link, true, false);
		return;
	case PGRES_POLLING_WRITING:
		watch_anew(link, false, true);
		return;
	case PGRES_POLLING_OK:
		opened(link);
		return;
	default:
		lose_natively(link);
	}
}

static void connect_first(struct pg_link *link, const char *addresses)
{
	link->native = pg_target_connect(link->target, addresses);
	check(link->native != NULL);
	if (PQstatus(link->native) == CONNECTION_BAD) {
		lose_natively(link);
		return;
	}
	PQsetNoticeReceiver(link->native, notice, link);
	watch_anew(link, false, true);
}

static void resolved(void *context, const char *addresses, const struct fault *why)
{
	struct pg_link *link = context;

	link->resolve = NULL;
	if (addresses)
		connect_first(link, addresses);
	else
		lose(link, why->detail);
}

static void open_late(void *context)
{
	lose(context, "the connection was not open in time");
}

struct pg_link *pg_link_create(struct loop *loop, const struct pg_target *target,
			       struct resolver *resolver, int connect_timeout_ms,
			       const struct pg_link_owner *owner)
{
	struct pg_link *link = mem_zeroed(1, sizeof(*link));

	link->loop = loop;
	link->target = target;
	link->resolver = resolver;
	link->owner = *owner;
	list_init(&link->steps);
	list_init(&link->broken.member);
	pg_prepared_init(&link->prepared);
	timer_start(loop, &link->timer, mono_after_ms(clock_mono(), connect_timeout_ms),
		    open_late, link);
	if (pg_target_name(target))
		link->resolve =
			resolve_start(resolver, pg_target_name(target), resolved, link);
	else
		connect_first(link, NULL);
	return link;
}

/* --- closing ---------------------------------------------------------------------- */

void pg_link_close(struct pg_link *link)
{
	link->ended = true;
	loop_undefer(&link->broken);
	close_native(link);
}

static void step_free(struct pg_step *step)
{
	list_remove(&step->member);
	PQclear(step->result);
	free(step);
}

struct pg_step *pg_link_take(struct pg_link *link)
{
	struct list *member;

	check(link->ended);
	while ((member = list_take(&link->steps))) {
		struct pg_step *step = list_of(member, struct pg_step, member);

		if (!step->internal) {
			PQclear(step->result);
			step->result = NULL;
			return step;
		}
		step_free(step);
	}
	return NULL;
}

void pg_link_destroy(struct pg_link *link)
{
	if (!link)
		return;
	pg_link_close(link);
	check(pg_link_take(link) == NULL);
	pg_prepared_finish(&link->prepared);
	free(link);
}

void pg_link_cut(struct pg_link *link)
{
	if (link->native)
		shutdown(PQsocket(link->native), SHUT_RDWR);
	lose(link, "the connection was cut"); /* even if the answer is here already */
}

/* --- answers ---------------------------------------------------------------------- */

/* An answered step whose preparation failed, or whose prepared statement no longer works,
 * must not leave that statement in the books. */
static void forget_prepared(struct pg_link *link, const struct pg_step *step)
{
	bool never_was = step->preparing;

	if (!step->serial || step->why.kind == FAULT_none)
		return;
	if ((never_was || pg_error_stale_plan(&step->error)) &&
	    pg_prepared_drop(&link->prepared, step->sql, step->serial) && !never_was)
		link->leaked++;
}

static void step_answered(struct pg_link *link, struct pg_step *step)
{
	struct pg_result *result = step->result;

	forget_prepared(link, step);
	step->result = NULL;
	if (step->why.kind != FAULT_none) {
		PQclear(result);
		result = NULL;
	}
	list_remove(&step->member);
	if (step->internal) {
		link->leaked += step->why.kind != FAULT_none;
		step_free(step);
	} else {
		link->owner.stepped(link->owner.context, step, result);
	}
	PQclear(result);
}

static void take_error(struct pg_link *link, struct pg_step *step, PGresult *result)
{
	/* Without a code it is libpq speaking of the connection, not the server of this
	 * step. */
	if (!PQresultErrorField(result, PG_DIAG_SQLSTATE)) {
		lose_natively(link);
	} else if (step->why.kind == FAULT_none) {
		pg_result_fault(result, PQresultErrorMessage(result), &step->why,
				&step->error);
		/* What the session's end says does not tell whether a finished statement
		 * stood. */
		if (pg_error_ends_session(&step->error))
			lose(link, step->why.detail);
	}
	PQclear(result);
}

static void take_result(struct pg_link *link, struct pg_step *step, PGresult *result)
{
	switch (PQresultStatus(result)) {
	case PGRES_PIPELINE_SYNC:
		PQclear(result);
		step_answered(link, step);
		return;
	case PGRES_PIPELINE_ABORTED:
		PQclear(result);
		return;
	case PGRES_EMPTY_QUERY:
	case PGRES_COMMAND_OK:
	case PGRES_TUPLES_OK:
		PQclear(step->result);
		step->result = result;
		if (step->preparing)
			pg_prepared_confirm(&link->prepared, step->sql, step->serial);
		step->preparing = false;
		step->finished = --step->commands == 0;
		return;
	case PGRES_FATAL_ERROR:
	case PGRES_BAD_RESPONSE:
	case PGRES_NONFATAL_ERROR:
		take_error(link, step, result);
		return;
	default: /* COPY: the pipeline has no way out of it */
		PQclear(result);
		lose(link, "the server began a COPY");
	}
}

/* Everything that has come in. Between results libpq gives NULL; many in a row would mean
 * that it and we count differently. */
static void take_answers(struct pg_link *link)
{
	int nothing = 0;

	while (!link->ended && !list_empty(&link->steps) && !PQisBusy(link->native)) {
		struct pg_step *step = list_of(link->steps.next, struct pg_step, member);
		PGresult *result = PQgetResult(link->native);

		if (result) {
			nothing = 0;
			take_result(link, step, result);
		} else if (++nothing > 4) {
			lose(link, "answers are out of step");
		}
	}
	/* Lets libpq read what comes unasked, and rest outside of any command. */
	if (!link->ended && list_empty(&link->steps) && !PQisBusy(link->native))
		PQclear(PQgetResult(link->native));
}

static void ready(void *context, bool readable, bool writable)
{
	struct pg_link *link = context;
	bool alive = true;

	if (link->ended)
		return;
	if (!link->open) {
		connect_on(link);
		return;
	}
	if (readable)
		alive = PQconsumeInput(link->native) == 1;
	take_answers(link);
	if (link->ended)
		return;
	if (!alive || PQstatus(link->native) == CONNECTION_BAD) {
		lose_natively(link);
		return;
	}
	if (writable)
		pg_link_flush(link);
}

/* --- sending ---------------------------------------------------------------------- */

void pg_link_flush(struct pg_link *link)
{
	bool more;

	if (link->ended || !link->open)
		return;
	more = PQflush(link->native) == 1;
	if (more != link->writing) {
		link->writing = more;
		loop_fd_want(link->watch, true, more);
	}
}

static void deallocate(struct pg_link *link, uint64_t serial)
{
	struct pg_step *step = mem_zeroed(1, sizeof(*step));
	char name[PG_PREPARED_NAME_SIZE], sql[PG_PREPARED_NAME_SIZE + 16];

	pg_prepared_name(serial, name);
	snprintf(sql, sizeof(sql), "deallocate %s", name);
	step->internal = true;
	step->commands = 1;
	list_append(&link->steps, &step->member);
	if (!PQsendQueryParams(link->native, sql, 0, NULL, NULL, NULL, NULL, 0) ||
	    !PQpipelineSync(link->native))
		lose_natively(link);
}

static bool send_unnamed(struct pg_link *link, struct pg_step *step)
{
	return PQsendQueryParams(link->native, step->sql.at, step->param_count, NULL,
				 step->params, NULL, NULL, 0) == 1;
}

/* Prepared if it can be. A text whose preparation is still on its way is not relied on:
 * if that failed, this would fail for another's reason. */
static bool send_step(struct pg_link *link, struct pg_step *step)
{
	char name[PG_PREPARED_NAME_SIZE];
	uint64_t serial, dropped = 0;
	bool ready;

	if (step->sql.size > PG_PREPARED_TEXT_MAX)
		return send_unnamed(link, step);
	serial = pg_prepared_find(&link->prepared, step->sql, &ready);
	if (serial && !ready)
		return send_unnamed(link, step);
	if (!serial) {
		serial = pg_prepared_add(&link->prepared, step->sql, &dropped);
		if (dropped)
			deallocate(link, dropped);
	}
	step->serial = serial;
	pg_prepared_name(serial, name);
	if (!ready) {
		step->commands++;
		step->preparing = true;
		if (!PQsendPrepare(link->native, name, step->sql.at, 0, NULL))
			return false;
	}
	return PQsendQueryPrepared(link->native, name, step->param_count, step->params,
				   NULL, NULL, 0) == 1;
}

void pg_link_send(struct pg_link *link, struct pg_step *step)
{
	bool sent = true;

	check(link->open);
	step->commands = 1;
	step->serial = 0;
	step->preparing = step->finished = false;
	if (!link->ended)
		sent = send_step(link, step);
	list_append(&link->steps, &step->member);
	if (!link->ended && (!sent || !PQpipelineSync(link->native)))
		lose_natively(link);
}

bool pg_link_in_transaction(const struct pg_link *link)
{
	return link->native && PQtransactionStatus(link->native) != PQTRANS_IDLE;
}

bool pg_link_worn(const struct pg_link *link)
{
	return link->leaked > LEAKED_MAX;
}

void pg_link_check(const struct pg_link *link)
{
	pg_prepared_check(&link->prepared);
	check(!link->open || link->native != NULL);
	check(link->native == NULL || link->open || link->ended || !link->resolve);
	for (struct list *each = link->steps.next; each != &link->steps;
	     each = each->next) {
		const struct pg_step *step = list_of(each, struct pg_step, member);

		check(step->commands >= 0);
		check(step->finished == (step->commands == 0));
	}
}
