/* SPDX-License-Identifier: MIT */
/* upstream_rig.h -- upstreams on a loop of their own, replicas to ask, and attempts that
 * remember what they were told. */
#ifndef UPSTREAM_RIG_H
#define UPSTREAM_RIG_H

#include "gate/upstream.h"

#include "base/check.h"
#include "loop/loop.h"
#include "../http/test_server.h"
#include "watch/log.h"
#include "watch/metrics.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <cmocka.h>

#define UNUSED __attribute__((unused))
#define WAIT_S 10

/* --- replicas --------------------------------------------------------------------- */

struct replica {
	struct test_server *server; /* NULL: nobody listens */
	unsigned port;
	atomic_int ready; /* the status of /ready */
	atomic_bool ready_hangs;
	atomic_uint checks, asked; /* /ready; all else */
	atomic_bool released; /* /hang answers, endless answers end */
	atomic_bool closes; /* every request but /ready: the connection */
};

static bool replica_wait(struct replica *replica, int fd)
{
	char byte;

	while (!atomic_load(&replica->released)) {
		if (recv(fd, &byte, 1, MSG_DONTWAIT | MSG_PEEK) == 0)
			return false;
		usleep(1000);
	}
	return true;
}

static bool replica_endless(struct replica *replica, int fd)
{
	static const char many[16384] = { 'x' };

	test_say(fd, "HTTP/1.1 200 OK\r\n\r\n");
	while (!atomic_load(&replica->released))
		if (send(fd, many, sizeof(many), MSG_NOSIGNAL) <= 0)
			break;
	return false;
}

/* Another protocol: what comes is sent back, "bye" ends it. */
static bool replica_echo(int fd)
{
	char bytes[256];
	ssize_t size;

	test_say(fd, "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\n"
		     "Upgrade: echo\r\n\r\nhello");
	while ((size = recv(fd, bytes, sizeof(bytes), 0)) > 0) {
		if (size == 3 && memcmp(bytes, "bye", 3) == 0)
			break;
		if (send(fd, bytes, (size_t)size, MSG_NOSIGNAL) != size)
			break;
	}
	return false;
}

static bool replica_ready(struct replica *replica, int fd)
{
	char answer[100];

	atomic_fetch_add(&replica->checks, 1);
	if (atomic_load(&replica->ready_hangs))
		return replica_wait(replica, fd) && false;
	snprintf(answer, sizeof(answer), "HTTP/1.1 %d X\r\nContent-Length: 0\r\n\r\n",
		 atomic_load(&replica->ready));
	test_say(fd, answer);
	return false;
}

static bool replica_answer(void *context, int fd, const struct test_request *request)
{
	static const char *const fine = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
	struct replica *replica = context;
	const char *path = request->path;

	if (strcmp(path, "/ready") == 0)
		return replica_ready(replica, fd);
	atomic_fetch_add(&replica->asked, 1);
	if (atomic_load(&replica->closes))
		return false;
	if (strcmp(path, "/hang") == 0 && !replica_wait(replica, fd))
		return false;
	if (strcmp(path, "/once") == 0 && request->number > 1)
		return false;
	if (strcmp(path, "/endless") == 0)
		return replica_endless(replica, fd);
	if (strcmp(path, "/echo") == 0)
		return replica_echo(fd);
	if (strcmp(path, "/cut") == 0) {
		test_say(fd, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nok");
		return false;
	}
	test_say(fd, fine);
	return true;
}

/* Where it was before, if it was. */
static void replica_start(struct replica *replica)
{
	struct test_server *server = calloc(1, sizeof(*server));
	struct sockaddr_in at = { .sin_family = AF_INET,
				  .sin_port = htons((uint16_t)replica->port),
				  .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t size = sizeof(at);
	int one = 1;

	atomic_store(&replica->ready, 200);
	atomic_store(&replica->released, false);
	(void)test_server_start; /* chooses a port itself */
	server->answer = replica_answer;
	server->context = replica;
	pthread_mutex_init(&server->lock, NULL);
	server->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	setsockopt(server->fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	assert_int_equal(bind(server->fd, (struct sockaddr *)&at, size), 0);
	assert_int_equal(listen(server->fd, 512), 0);
	assert_int_equal(getsockname(server->fd, (struct sockaddr *)&at, &size), 0);
	replica->port = server->port = ntohs(at.sin_port);
	pthread_create(&server->thread, NULL, test_server_run, server);
	replica->server = server;
}

static void replica_stop(struct replica *replica)
{
	atomic_store(&replica->released, true);
	if (replica->server)
		test_server_stop(replica->server);
	replica->server = NULL;
}

static unsigned UNUSED replica_connections(const struct replica *replica)
{
	return atomic_load(&replica->server->connections);
}

/* Connections that are open on its side, checks included. */
static unsigned UNUSED replica_open(struct replica *replica)
{
	unsigned open = 0;

	pthread_mutex_lock(&replica->server->lock);
	for (unsigned i = 0; i < replica_connections(replica); i++)
		open += replica->server->fds[i] >= 0;
	pthread_mutex_unlock(&replica->server->lock);
	return open;
}

/* --- the world around upstreams --------------------------------------------------- */

#define REPLICAS 4

struct rig {
	struct metrics *metrics;
	struct log_hub *hub;
	struct observer observer;
	struct chaos chaos;
	struct loop *loop;
	struct gate_upstreams *upstreams;
	struct gate_upstream_def def;
	char addresses[1024];
	struct replica replicas[REPLICAS];
	unsigned replica_count;
	struct buf log; /* lines so far */
};

static void on_wake(void *context)
{
}

/* "http://127.0.0.1:1,http://127.0.0.1:2" of those replicas. */
static const char *addresses_of(struct rig *rig, unsigned first, unsigned count)
{
	size_t size = 0;

	rig->addresses[0] = '\0';
	for (unsigned i = first; i < first + count; i++)
		size += (size_t)snprintf(rig->addresses + size,
					 sizeof(rig->addresses) - size,
					 "http://127.0.0.1:%u,", rig->replicas[i].port);
	return rig->addresses;
}

static void rig_use(struct rig *rig)
{
	gate_upstreams_use(rig->upstreams, &rig->def, 1);
	gate_upstreams_check(rig->upstreams);
}

static struct gate_upstream *rig_upstream(struct rig *rig)
{
	return gate_upstream_find(rig->upstreams, SLICE("up"));
}

/* No checks, no breakers; rig_use once more to have others. */
static struct rig *rig_create(unsigned replicas)
{
	struct rig *rig = mem_zeroed(1, sizeof(*rig));

	rig->metrics = metrics_create();
	rig->hub = log_hub_create(LOG_debug, on_wake, NULL);
	rig->observer = (struct observer){ .log = log_create(rig->hub, 1 << 18),
					   .meter = meter_create(rig->metrics) };
	rig->loop = loop_create(&rig->observer, &rig->chaos);
	rig->upstreams = gate_upstreams_create(rig->loop);
	rig->replica_count = replicas;
	for (unsigned i = 0; i < replicas; i++)
		replica_start(&rig->replicas[i]);
	rig->def = (struct gate_upstream_def){
		.name = SLICE("up"),
		.addresses = slice_text(addresses_of(rig, 0, replicas)),
		.resolve_ms = 20,
		.connect_timeout_ms = 1000,
		.connections_max = 100,
		.idle_max = 8,
		.idle_timeout_ms = 30000,
		.health = { .interval_ms = 20, .timeout_ms = 200, .fall = 2, .rise = 2 },
		.breaker = { .open_ms = 1000 },
		.retry = { .attempts_max = 3, .ratio = 0.2, .per_s = 10 },
	};
	rig_use(rig);
	return rig;
}

static void UNUSED rig_watch(struct rig *rig)
{
	rig->def.health.path = SLICE("/ready");
	rig_use(rig);
}

static void log_each(void *context, const struct log_record *record)
{
	log_format_json(context, record, SLICE("gateway"));
}

/* How many lines of the log so far hold the text. */
static unsigned UNUSED logged(struct rig *rig, const char *text)
{
	unsigned count = 0;

	while (log_hub_drain(rig->hub, 100, log_each, &rig->log) > 0)
		;
	for (const char *at = buf_text(&rig->log); (at = strstr(at, text)); at++)
		count++;
	return count;
}

static double shown(struct rig *rig, const char *state)
{
	const struct slice labels[] = { SLICE("up"), slice_text(state) };
	double value = 0;

	metrics_value(rig->metrics, SLICE("gateway_upstream_addresses"), labels, 2,
		      &value);
	return value;
}

static double UNUSED transitions(struct rig *rig, unsigned replica, const char *to)
{
	char address[32];
	double value = 0;

	snprintf(address, sizeof(address), "127.0.0.1:%u", rig->replicas[replica].port);
	metrics_value(
		rig->metrics, SLICE("gateway_breaker_transitions_total"),
		(struct slice[]){ SLICE("up"), slice_text(address), slice_text(to) }, 3,
		&value);
	return value;
}

static void rig_destroy(struct rig *rig)
{
	gate_upstreams_destroy(rig->upstreams);
	assert_true(shown(rig, "up") == 0);
	assert_true(shown(rig, "down") == 0);
	assert_true(shown(rig, "open") == 0);
	for (unsigned i = 0; i < rig->replica_count; i++)
		replica_stop(&rig->replicas[i]);
	loop_destroy(rig->loop);
	log_hub_destroy(rig->hub);
	metrics_destroy(rig->metrics);
	buf_finish(&rig->log);
	free(rig);
}

static void turn(struct rig *rig)
{
	loop_turn(rig->loop, 5);
	gate_upstreams_check(rig->upstreams);
}

/* Real time: the clocks may stand still. */
#define until(rig, condition)                                                            \
	do {                                                                             \
		struct timespec began_, now_;                                            \
		clock_gettime(CLOCK_MONOTONIC, &began_);                                 \
		while (!(condition)) {                                                   \
			turn(rig);                                                       \
			clock_gettime(CLOCK_MONOTONIC, &now_);                           \
			if (now_.tv_sec - began_.tv_sec > WAIT_S)                        \
				fail_msg("never: %s", #condition);                       \
		}                                                                        \
	} while (0)

/* --- attempts --------------------------------------------------------------------- */

struct
try {
	struct gate_attempt attempt;
	struct rig *rig;
	char head[256];
	struct gate_attempt_request request;
	bool inside; /* a function of upstream.h: no event may come */
	unsigned heads, pieces, dones, failures, switches, drains, closes;
	enum { TRY_never, TRY_head, TRY_data, TRY_switched } cancel; /* inside it */
	struct try *next; /* begun inside done or failed */
	int status;
	size_t size; /* of the body */
	char body[64]; /* its beginning */
	struct http_progress progress;
	bool kept;
	struct fault why;
	char address[64];
	struct gate_address *at; /* may be gone */
};

static bool try_over(const struct try *try)
{
	return try->attempt.address == NULL;
}

static void try_begin(struct try *try);

static struct try *try_event(void *context)
{
	struct try *try = context;

	assert_false(try->inside);
	assert_int_equal(try->dones + try->failures + try->closes, 0);
	return try;
}

static void try_head(void *context, const struct client_parse *answer)
{
	struct try *try = try_event(context);

	try->heads++;
	try->status = answer->status;
	if (try->cancel == TRY_head)
		gate_attempt_cancel(&try->attempt, false);
}

static void try_data(void *context, struct slice bytes)
{
	struct try *try = try_event(context);

	for (size_t i = 0; i < bytes.size && try->size + i < sizeof(try->body) - 1; i++)
		try->body[try->size + i] = bytes.at[i];
	try->size += bytes.size;
	try->pieces++;
	if (try->cancel == TRY_data)
		gate_attempt_cancel(&try->attempt, false);
}

static void try_ended(struct try *try)
{
	assert_true(try_over(try));
	if (try->next)
		try_begin(try->next);
}

static void try_done(void *context)
{
	struct try *try = try_event(context);

	try->dones++;
	try_ended(try);
}

static void try_failed(void *context, const struct http_progress *progress, bool kept,
		       const struct fault *why)
{
	struct try *try = try_event(context);

	try->failures++;
	try->progress = *progress;
	try->kept = kept;
	try->why = *why;
	/* Whoever is told may still look at the address. */
	assert_string_equal(try->address, gate_address_text(try->at).at);
	try_ended(try);
}

static void try_switched(void *context, const struct client_parse *answer)
{
	struct try *try = try_event(context);

	try->switches++;
	try->status = answer->status;
	if (try->cancel == TRY_switched)
		gate_attempt_cancel(&try->attempt, false);
}

static void try_drained(void *context)
{
	try_event(context)->drains++;
}

static void try_closed(void *context)
{
	struct try *try = try_event(context);

	try->closes++;
	try_ended(try);
}

static const struct gate_attempt_events try_events = {
	try_head, try_data, try_done, try_failed, try_switched, try_drained, try_closed,
};

static void try_prepare(struct try *try, struct rig *rig, const char *path)
{
	bool upgrade = strcmp(path, "/echo") == 0;

	*try = (struct try){ .rig = rig };
	snprintf(try->head, sizeof(try->head), "GET %s HTTP/1.1\r\nHost: up\r\n%s\r\n",
		 path, upgrade ? "Connection: upgrade\r\nUpgrade: echo\r\n" : "");
	try->request = (struct gate_attempt_request){ .head = slice_text(try->head),
						      .upgrade = upgrade };
}

/* Failing that it is over, with why. */
static void try_begin(struct try *try)
{
	struct gate_upstream *upstream = rig_upstream(try->rig);

	try->at = upstream ? gate_upstream_pick(upstream, NULL, 0, &try->why) : NULL;
	if (try->at == NULL)
		return;
	snprintf(try->address, sizeof(try->address), "%.*s",
		 SLICE_PRINT(gate_address_text(try->at)));
	try->inside = true;
	gate_attempt_begin(&try->attempt, try->at, &try->request, &try_events, try);
	try->inside = false;
}

static void UNUSED try_start(struct try *try, struct rig *rig, const char *path)
{
	try_prepare(try, rig, path);
	try_begin(try);
}

/* To its end. */
static struct try UNUSED ask(struct rig *rig, const char *path)
{
	struct try try;

	try_start(&try, rig, path);
	until(rig, try_over(&try));
	return try;
}

static bool UNUSED went_well(struct rig *rig, const char *path)
{
	struct try try = ask(rig, path);

	return try.dones == 1 && try.status == 200 && strcmp(try.body, "ok") == 0;
}

/* --- looking ---------------------------------------------------------------------- */

struct seen {
	unsigned count, up, idle, active, attempts;
	struct gate_address_view last;
	char text[2048]; /* addresses, each with a blank behind it */
	char trouble[240];
};

static void see(void *context, const struct gate_address_view *view)
{
	struct seen *seen = context;
	size_t size = strlen(seen->text);

	seen->last = *view;
	snprintf(seen->trouble, sizeof(seen->trouble), "%.*s",
		 SLICE_PRINT(view->trouble));
	if (view->address.size == 0)
		return;
	seen->count++;
	seen->up += view->up;
	seen->idle += view->idle;
	seen->active += view->active;
	seen->attempts += (unsigned)view->attempts;
	snprintf(seen->text + size, sizeof(seen->text) - size, "%.*s ",
		 SLICE_PRINT(view->address));
}

static struct seen UNUSED look(struct rig *rig)
{
	struct seen seen = { 0 };

	gate_upstreams_look(rig->upstreams, see, &seen);
	return seen;
}

#endif
