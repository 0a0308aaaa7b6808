/* SPDX-License-Identifier: MIT */
/* redis_pool.c -- commands from their call to their answer, and the one connection under
 * them. */
#include "store/redis_pool.h"

#include "base/check.h"
#include "base/random.h"
#include "loop/loop.h"
#include "store/redis_link.h"
#include "store/redis_text.h"
#include "store/resolve.h"
#include "watch/log.h"
#include "watch/metrics.h"
#include "watch/trace.h"

#include <hiredis/hiredis.h>
#include <stdlib.h>

#define BACKOFF_FIRST_MS 100
#define BACKOFF_MAX_MS 5000
#define ARGS_MAX 1024

enum redis_state { REDIS_closed, REDIS_opening, REDIS_open };

struct redis_command {
	struct list member; /* of waiting, held, sent or ended */
	struct redis_pool *pool;
	redis_done_fn *done;
	void *context;
	char name[REDIS_NAME_SIZE];
	struct slice wire; /* RESP; from hiredis' allocator */
	bool sent;
	bool cut; /* chaos: break the connection after sending */
	struct fault why; /* of its failure */
	struct mono began;
	struct timer timer; /* deadline */
	struct timer hold; /* chaos */
	struct span *span;
	struct trace_context trace;
	char *state; /* copy of the tracestate */
};

struct redis_pool {
	struct loop *loop;
	struct redis_target target;
	char database[16];
	unsigned waiting_max;
	int connect_timeout_ms;
	struct resolver *resolver;
	struct redis_link *link; /* NULL: none; while closed: to be buried */
	enum redis_state state;
	struct list waiting, held, sent, ended;
	unsigned count; /* in all four */
	struct deferred answer;
	struct deferred open;
	struct tick tick;
	struct timer reopen;
	int backoff_ms;
	bool backing_off;
	bool down; /* said so in the log */
	bool destroying;
	struct random random;
	struct fault why; /* of the last failure to open, or loss */
};

static struct redis_command *command_of(struct list *member)
{
	return list_of(member, struct redis_command, member);
}

/* --- answering -------------------------------------------------------------------- */

static void leave(struct redis_command *command)
{
	list_remove(&command->member);
	timer_stop(command->pool->loop, &command->timer);
	timer_stop(command->pool->loop, &command->hold);
}

static void span_finish(struct redis_command *command, struct slice error)
{
	struct slice code = error;

	if (command->why.kind != FAULT_none && span_recording(command->span)) {
		if (error.size > 0) {
			const char *space = memchr(error.at, ' ', error.size);

			code.size = space ? (size_t)(space - error.at) : error.size;
			span_attr(command->span,
				  attr_text(SLICE("db.response.status_code"), code));
		}
		span_fail(command->span, slice_text(fault_name(command->why.kind)),
			  slice_text(command->why.detail));
	}
	span_end(command->span);
}

/* Answers and frees. error: the words of an error reply, or empty. */
static void answer(struct redis_command *command, const struct redis_value *value,
		   struct slice error)
{
	const struct fault *why = command->why.kind ? &command->why : NULL;
	struct meter *meter = loop_observer(command->pool->loop)->meter;

	leave(command);
	command->pool->count--;
	series_observe(meter_own(meter, METRIC_db_duration, 3, SLICE("redis"),
				 slice_text(command->name),
				 slice_text(why ? fault_name(why->kind) : "")),
		       mono_seconds(command->began, clock_mono()));
	if (command->span)
		span_finish(command, error);
	command->done(command->context, why ? NULL : value, why);
	redisFreeCommand((char *)(size_t)command->wire.at);
	free(command->state);
	free(command);
}

static void answer_ended(void *context)
{
	struct redis_pool *pool = context;
	struct list *member;

	while ((member = list_take(&pool->ended)))
		answer(command_of(member), NULL, slice_of(NULL, 0));
}

/* Fails it later in this turn. */
static void fail(struct redis_command *command, enum fault_kind kind, const char *detail)
{
	struct redis_pool *pool = command->pool;

	leave(command);
	fault_set(&command->why, kind, "%s", detail);
	list_append(&pool->ended, &command->member);
	loop_defer(pool->loop, &pool->answer, answer_ended, pool);
}

/* --- the connection --------------------------------------------------------------- */

static void try_open(void *context);

static void come_back(struct redis_pool *pool)
{
	if (!pool->destroying)
		loop_defer(pool->loop, &pool->open, try_open, pool);
}

static void reopen(void *context)
{
	struct redis_pool *pool = context;

	pool->backing_off = false;
	come_back(pool);
}

/* The connection is of no use any more; what was sent on it fails. */
static void give_up(struct redis_pool *pool, const char *detail)
{
	struct list *member;

	redis_link_close(pool->link);
	pool->state = REDIS_closed;
	while ((member = pool->sent.next) != &pool->sent) {
		struct redis_command *command = command_of(member);

		fail(command,
		     redis_name_reads(command->name) ? FAULT_unavailable
						     : FAULT_uncertain,
		     detail);
	}
}

static void opening_failed(struct redis_pool *pool)
{
	double share = 0.5 + random_unit(&pool->random) / 2;
	struct list *member;

	pool->backoff_ms = pool->backoff_ms ? pool->backoff_ms * 2 : BACKOFF_FIRST_MS;
	if (pool->backoff_ms > BACKOFF_MAX_MS)
		pool->backoff_ms = BACKOFF_MAX_MS;
	pool->backing_off = true;
	timer_start(pool->loop, &pool->reopen,
		    mono_after_ms(clock_mono(), (int64_t)(pool->backoff_ms * share)),
		    reopen, pool);
	if (!pool->down)
		log_printf(loop_observer(pool->loop)->log, LOG_warn, "%s",
			   pool->why.detail);
	pool->down = true;
	while ((member = pool->waiting.next) != &pool->waiting)
		fail(command_of(member), FAULT_unavailable, pool->why.detail);
}

static void lost(void *context, const struct fault *why)
{
	struct redis_pool *pool = context;
	bool was_opening = pool->state == REDIS_opening;

	pool->why = *why;
	give_up(pool, why->detail);
	if (was_opening)
		opening_failed(pool);
	else
		come_back(pool);
}

static void send(struct redis_command *command)
{
	struct redis_pool *pool = command->pool;

	list_remove(&command->member);
	list_append(&pool->sent, &command->member);
	command->sent = true;
	redis_link_send(pool->link, command->wire, command);
	if (command->cut)
		redis_link_cut(pool->link);
}

static void opened(void *context)
{
	struct redis_pool *pool = context;

	if (pool->down)
		log_printf(loop_observer(pool->loop)->log, LOG_info, "Redis is back");
	pool->down = false;
	pool->backoff_ms = 0;
	pool->state = REDIS_open;
	while (!list_empty(&pool->waiting))
		send(command_of(pool->waiting.next));
}

static enum fault_kind error_kind(struct slice error)
{
	static const char *const passing[] = { "BUSY ", "CLUSTERDOWN", "LOADING",
					       "MASTERDOWN", "TRYAGAIN" };

	for (size_t i = 0; i < sizeof(passing) / sizeof(passing[0]); i++)
		if (slice_starts_with(error, slice_text(passing[i])))
			return FAULT_unavailable;
	return FAULT_refused;
}

static void replied(void *context, void *ticket, const struct redis_value *value,
		    struct slice error)
{
	struct redis_command *command = ticket;

	if (!value)
		fault_set(&command->why, error_kind(error), "Redis: %.*s",
			  SLICE_PRINT(error));
	answer(command, value, error);
}

static void try_open(void *context)
{
	struct redis_pool *pool = context;
	struct redis_link_owner owner = { opened, replied, lost, pool };

	if (pool->state != REDIS_closed || pool->backing_off || pool->destroying)
		return;
	redis_link_destroy(pool->link);
	pool->state = REDIS_opening;
	pool->link = redis_link_create(pool->loop, &pool->target, pool->resolver,
				       pool->connect_timeout_ms, &owner);
}

static void flush(void *context)
{
	struct redis_pool *pool = context;

	if (pool->state != REDIS_closed)
		redis_link_flush(pool->link);
}

/* --- commands --------------------------------------------------------------------- */

static void expired(void *context)
{
	struct redis_command *command = context;
	struct redis_pool *pool = command->pool;
	bool sent = command->sent;

	fail(command,
	     !sent || redis_name_reads(command->name) ? FAULT_timeout : FAULT_uncertain,
	     "Redis did not answer in time");
	if (!sent || pool->state != REDIS_open)
		return;
	give_up(pool, "an earlier command on the same connection took too long");
	come_back(pool);
}

static void span_begin(struct redis_command *command, const struct trace_context *trace)
{
	const struct redis_pool *pool = command->pool;
	struct slice name = slice_text(command->name);
	struct span *span;

	command->trace = *trace;
	if (trace->state.size)
		command->trace.state.at = command->state =
			mem_copy(trace->state.at, trace->state.size);
	span = span_start(loop_observer(pool->loop)->tracer, SPAN_client, name,
			  &command->trace);
	command->span = span;
	if (!span_recording(span))
		return;
	span_attr(span, attr_text(SLICE("db.system.name"), SLICE("redis")));
	span_attr(span, attr_text(SLICE("db.operation.name"), name));
	span_attr(span, attr_text(SLICE("db.namespace"), slice_text(pool->database)));
	span_attr(span,
		  attr_text(SLICE("server.address"), slice_text(pool->target.host)));
	if (pool->target.port != 6379)
		span_attr(span, attr_integer(SLICE("server.port"), pool->target.port));
}

/* False: too large for memory or for hiredis. */
static bool write_wire(struct redis_command *command, const struct slice *args,
		       size_t count)
{
	const char *texts[ARGS_MAX];
	size_t sizes[ARGS_MAX];
	char *wire = NULL;
	int size;

	if (count == 0 || count > ARGS_MAX)
		return false;
	for (size_t i = 0; i < count; i++) {
		texts[i] = args[i].at ? args[i].at : "";
		sizes[i] = args[i].size;
	}
	size = redisFormatCommandArgv(&wire, (int)count, texts, sizes);
	if (size < 0)
		return false;
	command->wire = slice_of(wire, (size_t)size);
	return true;
}

/* On its way: sent, or waiting for the connection. */
static void submit(struct redis_command *command)
{
	struct redis_pool *pool = command->pool;

	if (pool->state == REDIS_open) {
		send(command);
	} else if (pool->backing_off) {
		fail(command, FAULT_unavailable, pool->why.detail);
	} else {
		list_remove(&command->member);
		list_append(&pool->waiting, &command->member);
		come_back(pool);
	}
}

static void held_enough(void *context)
{
	submit(context);
}

static void submit_through_chaos(struct redis_command *command)
{
	struct redis_pool *pool = command->pool;
	struct chaos_effect effect =
		chaos_point(loop_chaos(pool->loop), CHAOS_redis_command);

	command->cut = effect.cut;
	if (effect.fail != FAULT_none) {
		fail(command, effect.fail, "broken on purpose: redis_command");
	} else if (effect.delay_ms > 0) {
		list_append(&pool->held, &command->member);
		timer_start(pool->loop, &command->hold,
			    mono_after_ms(clock_mono(), effect.delay_ms), held_enough,
			    command);
	} else {
		submit(command);
	}
}

void redis_pool_command(struct redis_pool *pool, const struct slice *args, size_t count,
			struct mono deadline, const struct trace_context *trace,
			redis_done_fn *done, void *context)
{
	struct redis_command *command = mem_zeroed(1, sizeof(*command));

	command->pool = pool;
	command->done = done;
	command->context = context;
	command->began = clock_mono();
	list_init(&command->member);
	redis_name(count > 0 ? args[0] : slice_of(NULL, 0), command->name);
	if (trace)
		span_begin(command, trace);
	pool->count++;
	if (pool->destroying) {
		fail(command, FAULT_cancelled, "the pool is being closed");
	} else if (redis_name_is_unfit(command->name)) {
		fail(command, FAULT_internal,
		     "this command needs a connection of its own");
	} else if (!write_wire(command, args, count)) {
		fail(command, FAULT_internal, "a command has 1 to 1024 arguments");
	} else if (pool->count > pool->waiting_max) {
		fail(command, FAULT_limit, "too many commands wait for Redis");
		command->why.status = 503;
	} else if (deadline.ns <= command->began.ns) {
		fail(command, FAULT_timeout, "the time was up already");
	} else {
		if (deadline.ns != MONO_NEVER.ns)
			timer_start(pool->loop, &command->timer, deadline, expired,
				    command);
		submit_through_chaos(command);
	}
}

/* --- life ------------------------------------------------------------------------- */

struct redis_pool *redis_pool_create(struct loop *loop,
				     const struct redis_pool_config *config,
				     struct fault *why)
{
	struct redis_pool *pool = mem_zeroed(1, sizeof(*pool));

	if (!redis_target_init(&pool->target, config->url, why)) {
		free(pool);
		return NULL;
	}
	pool->loop = loop;
	pool->waiting_max = config->waiting_max;
	pool->connect_timeout_ms = config->connect_timeout_ms;
	snprintf(pool->database, sizeof(pool->database), "%d", pool->target.database);
	pool->resolver = resolver_create(loop);
	list_init(&pool->waiting);
	list_init(&pool->held);
	list_init(&pool->sent);
	list_init(&pool->ended);
	list_init(&pool->answer.member);
	list_init(&pool->open.member);
	random_init_secure(&pool->random);
	fault_set(&pool->why, FAULT_unavailable, "Redis: not connected yet");
	loop_tick_add(loop, &pool->tick, flush, pool);
	come_back(pool);
	return pool;
}

static void cancel_all(struct list *commands)
{
	while (!list_empty(commands))
		fail(command_of(commands->next), FAULT_cancelled,
		     "the pool is being closed");
}

void redis_pool_destroy(struct redis_pool *pool)
{
	if (!pool)
		return;
	pool->destroying = true;
	timer_stop(pool->loop, &pool->reopen);
	loop_undefer(&pool->open);
	loop_tick_remove(&pool->tick);
	redis_link_destroy(pool->link);
	pool->link = NULL;
	cancel_all(&pool->waiting);
	cancel_all(&pool->held);
	cancel_all(&pool->sent);
	answer_ended(pool); /* its callbacks may ask for more, which is cancelled too */
	loop_undefer(&pool->answer);
	resolver_destroy(pool->resolver);
	redis_target_finish(&pool->target);
	free(pool);
}

bool redis_pool_healthy(const struct redis_pool *pool, struct fault *why)
{
	if (pool->state == REDIS_open)
		return true;
	if (why)
		*why = pool->why;
	return false;
}

static unsigned length(const struct list *list)
{
	unsigned count = 0;

	for (const struct list *each = list->next; each != list; each = each->next)
		count++;
	return count;
}

void redis_pool_check(const struct redis_pool *pool)
{
	check(pool->count == length(&pool->waiting) + length(&pool->held) +
				     length(&pool->sent) + length(&pool->ended));
	check(pool->state != REDIS_open || list_empty(&pool->waiting));
	check(pool->state == REDIS_open || list_empty(&pool->sent));
	check(!pool->backing_off || pool->state == REDIS_closed);
	check(pool->count <= pool->waiting_max || !list_empty(&pool->ended));
}
