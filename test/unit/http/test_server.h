/* SPDX-License-Identifier: MIT */
/* test_server.h -- an HTTP server that does to its clients whatever a test wants.
 *
 * Plain blocking sockets, one thread per connection. It reads a request, then the test's
 * function writes to the socket what it likes.
 */
#ifndef TEST_SERVER_H
#define TEST_SERVER_H

#include <netinet/in.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

struct test_request { /* texts are terminated */
	char method[32];
	char path[512];
	const char *head;
	const char *body;
	size_t body_size;
	unsigned number; /* on its connection, from 1 */
};

/* On a thread of the server. False: close the connection. body is not read yet when the
 * path contains
 * "/early". */
typedef bool test_answer_fn(void *context, int fd, const struct test_request *request);

#define TEST_CONNECTIONS_MAX 4096

struct test_server {
	int fd;
	unsigned port;
	test_answer_fn *answer;
	void *context;
	pthread_t thread;
	pthread_t threads[TEST_CONNECTIONS_MAX];
	int fds[TEST_CONNECTIONS_MAX]; /* -1: closed; under lock */
	pthread_mutex_t lock;
	atomic_uint connections; /* accepted so far */
	atomic_uint requests;
};

struct test_connection {
	struct test_server *server;
	unsigned index;
	int fd;
};

static void test_say(int fd, const char *text)
{
	size_t size = strlen(text);

	while (size > 0) {
		ssize_t sent = send(fd, text, size, MSG_NOSIGNAL);

		if (sent <= 0)
			return;
		text += sent;
		size -= (size_t)sent;
	}
}

/* Reads on until there are `enough` bytes. */
static bool test_fill(int fd, char **bytes, size_t *size, size_t enough)
{
	while (*size < enough) {
		ssize_t got;

		*bytes = realloc(*bytes, enough + 65536 + 1);
		got = recv(fd, *bytes + *size, enough + 65536 - *size, 0);
		if (got <= 0)
			return false;
		*size += (size_t)got;
		(*bytes)[*size] = '\0';
	}
	return true;
}

static const char *test_header(const char *head, const char *name)
{
	const char *line = strcasestr(head, name);

	return line ? line + strlen(name) : NULL;
}

static bool test_read(int fd, char **bytes, size_t *size, struct test_request *request)
{
	const char *end, *length;
	size_t head_size;

	while (*size == 0 || !strstr(*bytes, "\r\n\r\n"))
		if (!test_fill(fd, bytes, size, *size + 1))
			return false;
	end = strstr(*bytes, "\r\n\r\n");
	head_size = (size_t)(end - *bytes) + 4;
	if (sscanf(*bytes, "%31s %511s", request->method, request->path) != 2)
		return false;
	length = test_header(*bytes, "\ncontent-length: ");
	request->body_size = length ? strtoul(length, NULL, 10) : 0;
	if (strstr(request->path, "/early"))
		request->body_size = 0;
	if (!test_fill(fd, bytes, size, head_size + request->body_size))
		return false;
	request->head = *bytes;
	request->body = *bytes + head_size;
	(*bytes)[head_size - 1] = '\0';
	return true;
}

static void *test_connection_run(void *context)
{
	struct test_connection *connection = context;
	struct test_server *server = connection->server;
	struct test_request request = { .number = 0 };
	bool again = true;

	while (again) {
		char *bytes = NULL;
		size_t size = 0;

		again = test_read(connection->fd, &bytes, &size, &request);
		request.number++;
		if (again) {
			atomic_fetch_add(&server->requests, 1);
			again = server->answer(server->context, connection->fd, &request);
		}
		free(bytes);
	}
	pthread_mutex_lock(&server->lock);
	close(connection->fd);
	server->fds[connection->index] = -1;
	pthread_mutex_unlock(&server->lock);
	free(connection);
	return NULL;
}

static void *test_server_run(void *context)
{
	struct test_server *server = context;

	for (;;) {
		int fd = accept(server->fd, NULL, NULL);
		struct test_connection *connection;
		unsigned index = atomic_load(&server->connections);

		if (fd < 0 || index == TEST_CONNECTIONS_MAX)
			return NULL;
		connection = malloc(sizeof(*connection));
		*connection = (struct test_connection){ server, index, fd };
		pthread_mutex_lock(&server->lock);
		server->fds[index] = fd;
		pthread_mutex_unlock(&server->lock);
		atomic_fetch_add(&server->connections, 1);
		pthread_create(&server->threads[index], NULL, test_connection_run,
			       connection);
	}
}

static struct test_server *test_server_start(test_answer_fn *answer, void *context)
{
	struct test_server *server = calloc(1, sizeof(*server));
	struct sockaddr_in address = { .sin_family = AF_INET,
				       .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t size = sizeof(address);

	server->answer = answer;
	server->context = context;
	pthread_mutex_init(&server->lock, NULL);
	server->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (bind(server->fd, (struct sockaddr *)&address, size) != 0 ||
	    listen(server->fd, 512) != 0 ||
	    getsockname(server->fd, (struct sockaddr *)&address, &size) != 0)
		abort();
	server->port = ntohs(address.sin_port);
	pthread_create(&server->thread, NULL, test_server_run, server);
	return server;
}

/* Ends its connections too. */
static void test_server_stop(struct test_server *server)
{
	shutdown(server->fd, SHUT_RDWR);
	pthread_join(server->thread, NULL);
	close(server->fd);
	pthread_mutex_lock(&server->lock);
	for (unsigned i = 0; i < server->connections; i++)
		if (server->fds[i] >= 0)
			shutdown(server->fds[i], SHUT_RDWR);
	pthread_mutex_unlock(&server->lock);
	for (unsigned i = 0; i < server->connections; i++)
		pthread_join(server->threads[i], NULL);
	pthread_mutex_destroy(&server->lock);
	free(server);
}

#endif
