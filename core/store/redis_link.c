/* SPDX-License-Identifier: MIT */
/* redis_link.c -- hiredis' five hooks, on a loop_fd.
 *
 * hiredis frees its context by itself when the connection fails, and calls every callback
 * that is left with a NULL reply on the way; those are ignored here, because the owner
 * keeps its own list. Its wish to write is put off to the flush at the end of the turn
 * once it is connected.
 */
#include "store/redis_link.h"

#include "base/arena.h"
#include "base/check.h"
#include "loop/loop.h"
#include "store/redis_text.h"
#include "store/resolve.h"

#include <hiredis/async.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <sys/socket.h>

struct redis_link {
	struct loop *loop;
	const struct redis_target *target;
	struct redis_link_owner owner;
	struct resolve *resolve;
	char *addresses; /* of the name, comma-separated */
	const char *next; /* address to try; NULL: no more */
	struct timer timer; /* while opening */
	struct deferred broken; /* lost is due */
	struct redisAsyncContext *native;
	struct loop_fd *watch;
	unsigned owed; /* answers; the first are to greetings */
	bool connected; /* the socket is */
	bool open;
	bool ended;
	bool want_read, want_write;
	bool dirty;
	size_t reply_size_max; /* 0: no bound */
	struct redisReplyObjectFunctions *makers; /* hiredis' own */
	struct redisReplyObjectFunctions choosy; /* ours before it */
	struct fault why;
};

/* --- the end ---------------------------------------------------------------------- */

static void close_native(struct redis_link *link)
{
	resolve_cancel(link->resolve);
	link->resolve = NULL;
	timer_stop(link->loop, &link->timer);
	link->open = false;
	if (link->native)
		redisAsyncFree(link->native); /* calls forget, perhaps later */
}

static void report_loss(void *context)
{
	struct redis_link *link = context;

	close_native(link);
	link->owner.lost(link->owner.context, &link->why);
}

static void lose(struct redis_link *link, const char *words)
{
	if (link->ended)
		return;
	link->ended = true;
	fault_set(&link->why, FAULT_unavailable, "Redis: %s",
		  words && *words ? words : "the connection was lost");
	loop_defer(link->loop, &link->broken, report_loss, link);
}

void redis_link_close(struct redis_link *link)
{
	link->ended = true;
	loop_undefer(&link->broken);
	close_native(link);
}

void redis_link_destroy(struct redis_link *link)
{
	if (!link)
		return;
	redis_link_close(link);
	check(link->native == NULL);
	free(link->addresses);
	free(link);
}

void redis_link_cut(struct redis_link *link)
{
	if (link->native)
		shutdown(link->native->c.fd, SHUT_RDWR);
	lose(link, "the connection was cut");
}

/* --- hiredis' hooks --------------------------------------------------------------- */

static void want(struct redis_link *link, bool read, bool write)
{
	if (!link->watch || (read == link->want_read && write == link->want_write))
		return;
	link->want_read = read;
	link->want_write = write;
	loop_fd_want(link->watch, read, write);
}

static void add_read(void *data)
{
	struct redis_link *link = data;

	want(link, true, link->want_write);
}

static void stop_read(void *data)
{
	struct redis_link *link = data;

	want(link, false, link->want_write);
}

static void add_write(void *data)
{
	struct redis_link *link = data;

	if (link->connected)
		link->dirty = true;
	else
		want(link, link->want_read, true);
}

static void stop_write(void *data)
{
	struct redis_link *link = data;

	want(link, link->want_read, false);
}

/* The native context is about to be freed. */
static void forget(void *data)
{
	struct redis_link *link = data;

	loop_fd_destroy(link->watch);
	link->watch = NULL;
	link->native = NULL;
	link->connected = link->want_read = link->want_write = link->dirty = false;
}

/* What the reader holds when it has read is the beginning of one reply. */
static void read_some(struct redis_link *link)
{
	const struct redisReader *reader;

	redisAsyncHandleRead(link->native);
	if (!link->native || !link->reply_size_max)
		return;
	reader = link->native->c.reader;
	if (reader->len - reader->pos > link->reply_size_max)
		lose(link, "a reply is too large");
}

static void ready(void *context, bool readable, bool writable)
{
	struct redis_link *link = context;

	if (readable && link->native)
		read_some(link);
	if (writable && link->native)
		redisAsyncHandleWrite(link->native);
}

void redis_link_flush(struct redis_link *link)
{
	if (!link->dirty || !link->native || link->ended)
		return;
	link->dirty = false;
	redisAsyncHandleWrite(link->native);
	/* It has asked to write again: the socket is full, so wait for it. */
	if (link->native && link->dirty)
		want(link, link->want_read, true);
	link->dirty = false;
}

/* --- what the server may say ------------------------------------------------------ */

/* hiredis ends the process (assert) over an answer to nothing, and over an array to who
 * hears that is neither ["subscribe", channel, number] nor ["message", channel, text];
 * and an array may go on for ever. So they are refused while they are read: what is not
 * made is an error of the connection. */
static bool may_be(const struct redisReadTask *task, bool well_in_array)
{
	struct redis_link *link = task->privdata;
	bool hears = link->reply_size_max > 0;
	bool may = task->parent
			   ? !hears || well_in_array
			   : hears || link->owed > 0 || task->type == REDIS_REPLY_ERROR;

	/* What follows the word that ended it may be one answer too many. */
	may = may && !link->ended;
	if (!may)
		lose(link, "a reply that was not to be expected");
	return may;
}

static bool text_fits(const struct redisReadTask *task, struct slice text)
{
	return task->idx == 2 ||
	       (task->type == REDIS_REPLY_STRING &&
		(task->idx == 1 || slice_equal(text, SLICE("subscribe")) ||
		 slice_equal(text, SLICE("message"))));
}

static void *make_text(const struct redisReadTask *task, char *at, size_t size)
{
	struct redis_link *link = task->privdata;

	if (!may_be(task, text_fits(task, slice_of(at, size))))
		return NULL;
	return link->makers->createString(task, at, size);
}

static void *make_array(const struct redisReadTask *task, int count)
{
	struct redis_link *link = task->privdata;

	if (!may_be(task, false))
		return NULL;
	if (link->reply_size_max && count != 3) {
		lose(link, "a reply that was not to be expected");
		return NULL;
	}
	return link->makers->createArray(task, count);
}

static void *make_integer(const struct redisReadTask *task, long long value)
{
	struct redis_link *link = task->privdata;

	return may_be(task, task->idx == 2) ? link->makers->createInteger(task, value)
					    : NULL;
}

static void *make_null(const struct redisReadTask *task)
{
	struct redis_link *link = task->privdata;

	return may_be(task, false) ? link->makers->createNil(task) : NULL;
}

static void be_choosy(struct redis_link *link)
{
	struct redisReader *reader = link->native->c.reader;

	link->makers = reader->fn;
	link->choosy =
		(struct redisReplyObjectFunctions){ make_text, make_array, make_integer,
						    make_null, link->makers->freeObject };
	reader->fn = &link->choosy;
	reader->privdata = link;
}

void redis_link_bound(struct redis_link *link, size_t reply_size_max)
{
	link->reply_size_max = reply_size_max;
}

/* --- replies ---------------------------------------------------------------------- */

static struct redis_value value_of(struct arena *arena, const struct redisReply *reply)
{
	struct redis_value value = { .type = REDIS_null };
	struct redis_value *items;

	switch (reply->type) {
	case REDIS_REPLY_STRING:
	case REDIS_REPLY_ERROR: /* inside an array, as scripts return it */
		value.type = REDIS_text;
		value.text = slice_of(reply->str, reply->len);
		break;
	case REDIS_REPLY_STATUS:
		value.type = REDIS_status;
		value.text = slice_of(reply->str, reply->len);
		break;
	case REDIS_REPLY_INTEGER:
		value.type = REDIS_integer;
		value.integer = reply->integer;
		break;
	case REDIS_REPLY_ARRAY:
		items = arena_alloc(arena, (reply->elements + 1) * sizeof(*items));
		for (size_t i = 0; i < reply->elements; i++)
			items[i] = value_of(arena, reply->element[i]);
		value.type = REDIS_array;
		value.items = items;
		value.count = reply->elements;
		break;
	default:
		break;
	}
	return value;
}

static void replied(struct redisAsyncContext *native, void *data, void *ticket)
{
	struct redis_link *link = native->ev.data;
	const struct redisReply *reply = data;
	struct redis_value value;
	struct arena arena = { 0 };

	if (!reply || link->ended)
		return;
	link->owed -= !link->reply_size_max;
	if (reply->type == REDIS_REPLY_ERROR) {
		link->owner.replied(link->owner.context, ticket, NULL,
				    slice_of(reply->str, reply->len));
		return;
	}
	value = value_of(&arena, reply);
	link->owner.replied(link->owner.context, ticket, &value, slice_of(NULL, 0));
	arena_finish(&arena);
}

void redis_link_send(struct redis_link *link, struct slice wire, void *ticket)
{
	if (link->ended)
		return;
	check(link->open);
	if (redisAsyncFormattedCommand(link->native, replied, ticket, wire.at,
				       wire.size) != REDIS_OK)
		lose(link, "the connection was lost");
	link->owed += !link->reply_size_max;
}

/* --- opening ---------------------------------------------------------------------- */

static void greeted(struct redisAsyncContext *native, void *data, void *ticket)
{
	struct redis_link *link = native->ev.data;
	const struct redisReply *reply = data;

	if (!reply || link->ended)
		return;
	if (reply->type == REDIS_REPLY_ERROR) {
		lose(link, reply->str);
		return;
	}
	if (--link->owed > 0)
		return;
	timer_stop(link->loop, &link->timer);
	link->open = true;
	link->owner.opened(link->owner.context);
}

static void greet(struct redis_link *link, int count, const char **words)
{
	link->owed++;
	redisAsyncCommandArgv(link->native, greeted, NULL, count, words, NULL);
}

static void connect_next(void *context);

static void connected(const struct redisAsyncContext *native, int status)
{
	struct redis_link *link = native->ev.data;
	const struct redis_target *target = link->target;
	char database[16];
	int one = 1;

	if (link->ended)
		return;
	if (status != REDIS_OK && link->next) {
		loop_defer(link->loop, &link->broken, connect_next, link);
		return;
	}
	if (status != REDIS_OK) {
		lose(link, native->c.errstr);
		return;
	}
	link->connected = true;
	setsockopt(native->c.fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	if (target->user && target->password)
		greet(link, 3,
		      (const char *[]){ "AUTH", target->user, target->password });
	else if (target->password)
		greet(link, 2, (const char *[]){ "AUTH", target->password });
	snprintf(database, sizeof(database), "%d", target->database);
	if (target->database != 0)
		greet(link, 2, (const char *[]){ "SELECT", database });
	greet(link, 1, (const char *[]){ "PING" });
}

static void disconnected(const struct redisAsyncContext *native, int status)
{
	struct redis_link *link = native->ev.data;

	if (link)
		lose(link, native->errstr);
}

/* Tries the next address; what fails at once is passed over. */
static void connect_next(void *context)
{
	struct redis_link *link = context;
	struct redisAsyncContext *native;
	size_t size = strcspn(link->next, ",");
	char address[80];

	snprintf(address, sizeof(address), "%.*s", (int)size, link->next);
	link->next = link->next[size] == ',' ? link->next + size + 1 : NULL;
	native = redisAsyncConnect(address, link->target->port);
	check(native != NULL);
	if (native->err) {
		if (link->next)
			loop_defer(link->loop, &link->broken, connect_next, link);
		else
			lose(link, native->errstr);
		redisAsyncFree(native);
		return;
	}
	link->native = native;
	link->watch = loop_fd_create(link->loop, native->c.fd, ready, link);
	native->ev.data = link;
	native->ev.addRead = add_read;
	native->ev.delRead = stop_read;
	native->ev.addWrite = add_write;
	native->ev.delWrite = stop_write;
	native->ev.cleanup = forget;
	be_choosy(link);
	redisAsyncSetConnectCallback(native,
				     connected); /* wants to write, to learn of it */
	redisAsyncSetDisconnectCallback(native, disconnected);
}

static void resolved(void *context, const char *addresses, const struct fault *why)
{
	struct redis_link *link = context;

	link->resolve = NULL;
	if (!addresses) {
		lose(link, why->detail);
		return;
	}
	link->addresses = mem_copy(addresses, strlen(addresses));
	link->next = link->addresses;
	connect_next(link);
}

static void open_late(void *context)
{
	lose(context, "the connection was not open in time");
}

struct redis_link *redis_link_create(struct loop *loop, const struct redis_target *target,
				     struct resolver *resolver, int connect_timeout_ms,
				     const struct redis_link_owner *owner)
{
	struct redis_link *link = mem_zeroed(1, sizeof(*link));

	link->loop = loop;
	link->target = target;
	link->owner = *owner;
	list_init(&link->broken.member);
	timer_start(loop, &link->timer, mono_after_ms(clock_mono(), connect_timeout_ms),
		    open_late, link);
	link->next = target->host;
	if (resolve_numeric(target->host))
		connect_next(link);
	else
		link->resolve = resolve_start(resolver, target->host, resolved, link);
	return link;
}
