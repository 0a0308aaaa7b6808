/* SPDX-License-Identifier: MIT */
/* site.h -- for tests: a server on a thread of its own, and a client that speaks raw
 * bytes.
 *
 * The test runs on the main thread and talks over real sockets; what it wants from the
 * server's thread it sends there with site_do, which waits until it is done.
 */
#ifndef TEST_HTTP_SITE_H
#define TEST_HTTP_SITE_H

#include "base/buf.h"
#include "base/check.h"
#include "http/request.h"
#include "http/server.h"
#include "loop/loop.h"
#include "loop/worker.h"

#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#define PATIENCE_MS 5000

/* libh2o keeps free lists for each thread and forgets them when the thread ends; and it
 * does not free its thread queues. */
const char *__lsan_default_suppressions(void);

const char *__lsan_default_suppressions(void)
{
	return "leak:h2o_mem_alloc_recycle\nleak:h2o_multithread_create_queue\n";
}

struct site {
	struct observer observer;
	struct chaos chaos;
	struct loop *loop;
	struct http_server *server;
	struct thread *thread;
};

static inline struct http_server_config site_config(http_handler_fn *handler,
						    void *context)
{
	return (struct http_server_config){
		.host = SLICE("127.0.0.1"),
		.body_size_max = 4096,
		.requests_max = 16,
		.connections_max = 64,
		.http2 = true,
		.idle_timeout_ms = 30000,
		.request_timeout_ms = 30000,
		.handler = handler,
		.context = context,
	};
}

static inline void site_main(void *context)
{
	loop_run(context);
}

static inline void site_open(struct site *site, const struct http_server_config *config)
{
	struct fault why;

	signal(SIGPIPE, SIG_IGN);
	*site = (struct site){ 0 };
	site->loop = loop_create(&site->observer, &site->chaos);
	site->server = http_server_create(site->loop, config, false, &why);
	check(site->server);
	site->thread = thread_start("site", site_main, site->loop);
}

/* Also with connections and requests still open. */
static inline void site_close(struct site *site)
{
	loop_stop(site->loop);
	thread_join(site->thread);
	http_server_destroy(site->server);
	loop_destroy(site->loop);
}

struct site_errand {
	struct mail mail;
	loop_fn *fn;
	void *context;
	sem_t done;
};

static inline void site_run_errand(void *context)
{
	struct site_errand *errand = context;

	errand->fn(errand->context);
	sem_post(&errand->done);
}

/* Runs fn on the server's thread and waits for its end. */
static inline void site_do(struct site *site, loop_fn *fn, void *context)
{
	struct site_errand errand = { .fn = fn, .context = context };

	sem_init(&errand.done, 0, 0);
	loop_post(site->loop, &errand.mail, site_run_errand, &errand);
	while (sem_wait(&errand.done) != 0)
		;
	sem_destroy(&errand.done);
}

struct site_count {
	struct site *site;
	unsigned in_flight;
	unsigned connections;
};

static inline void site_take_count(void *context)
{
	struct site_count *count = context;

	count->in_flight = http_server_in_flight(count->site->server);
	count->connections = http_server_connections(count->site->server);
}

static inline struct site_count site_counts(struct site *site)
{
	struct site_count count = { .site = site };

	site_do(site, site_take_count, &count);
	return count;
}

/* Waits, with a bound, until the counts are these. */
static inline bool site_reaches(struct site *site, unsigned in_flight,
				unsigned connections)
{
	for (int tries = 0; tries < PATIENCE_MS / 5; tries++) {
		struct site_count count = site_counts(site);

		if (count.in_flight == in_flight && count.connections == connections)
			return true;
		poll(NULL, 0, 5);
	}
	return false;
}

/* --- the client ------------------------------------------------------------------- */

static inline int client_connect(const struct site *site)
{
	struct sockaddr_in at = {
		.sin_family = AF_INET,
		.sin_port = htons((uint16_t)http_server_port(site->server)),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
	};
	struct timeval patience = { PATIENCE_MS / 1000, 0 };
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	check(fd >= 0);
	check(connect(fd, (struct sockaddr *)&at, sizeof(at)) == 0);
	check(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)) == 0);
	return fd;
}

static inline bool client_send_bytes(int fd, struct slice bytes)
{
	while (bytes.size) {
		ssize_t sent = send(fd, bytes.at, bytes.size, MSG_NOSIGNAL);

		if (sent <= 0)
			return false;
		bytes = slice_of(bytes.at + sent, bytes.size - (size_t)sent);
	}
	return true;
}

static inline bool client_send(int fd, const char *text)
{
	return client_send_bytes(fd, slice_text(text));
}

/* Everything until the server closes; terminated; the caller frees. NULL: it did not
 * close. */
static inline char *client_read_all(int fd)
{
	size_t size = 0, capacity = 4096;
	char *all = mem_zeroed(1, capacity + 1);

	for (;;) {
		ssize_t got = recv(fd, all + size, capacity - size, 0);

		if (got <= 0) {
			all[size] = 0;
			if (got == 0 || errno == ECONNRESET)
				return all;
			free(all);
			return NULL;
		}
		size += (size_t)got;
		if (size == capacity)
			all = mem_resize(all, (capacity *= 2) + 1);
	}
}

/* One answer with a Content-Length (HEAD: without the body), terminated; the caller
 * frees. NULL: there was none. Reads byte by byte, so that the next answer stays in the
 * socket. */
static inline char *client_read_answer(int fd, bool head)
{
	size_t size = 0, capacity = 64 * 1024, end = 0;
	char *all = mem_zeroed(1, capacity + 1);

	while (size < capacity && recv(fd, all + size, 1, 0) == 1) {
		size++;
		if (!end && size >= 4 && memcmp(all + size - 4, "\r\n\r\n", 4) == 0) {
			const char *length = strstr(all, "Content-Length: ");

			end = size + (head || !length ? 0 : (size_t)atol(length + 16));
		}
		if (end && size == end)
			return all;
	}
	free(all);
	return NULL;
}

static inline bool answer_has(const char *answer, const char *text)
{
	return answer && strstr(answer, text) != NULL;
}

#endif
