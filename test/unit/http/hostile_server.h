/* SPDX-License-Identifier: MIT */
/* hostile_server.h -- what an upstream may do to a client, by path. */
#ifndef HOSTILE_SERVER_H
#define HOSTILE_SERVER_H

#include "test_server.h"

static const struct {
	const char *path, *says;
	bool closes;
} sayings[] = {
	{ "/ok", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-Test: yes\r\n\r\nok", false },
	{ "/close", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok",
	  true },
	{ "/lies", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", true },
	{ "/chunked",
	  "HTTP/1.1 200 OK\r\nTransfer-Encoding: "
	  "chunked\r\n\r\n1\r\no\r\n1\r\nk\r\n0\r\n\r\n",
	  false },
	{ "/until-close", "HTTP/1.1 200 OK\r\n\r\nok", true },
	{ "/no-content", "HTTP/1.1 204 No Content\r\n\r\n", false },
	{ "/not-modified", "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n",
	  false },
	{ "/head", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", false },
	{ "/continue",
	  "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
	  false },
	{ "/missing", "HTTP/1.1 404 No\r\nContent-Length: 2\r\n\r\nno", false },
	{ "/down", "HTTP/1.1 503 No\r\nContent-Length: 2\r\n\r\nno", false },
	{ "/extra", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\n",
	  false },
	/* From here on broken. */
	{ "/te-gzip", "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n", false },
	{ "/cl-abc", "HTTP/1.1 200 OK\r\nContent-Length: abc\r\n\r\n", false },
	{ "/te-cl",
	  "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\nok",
	  false },
	{ "/two-cl",
	  "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok", false },
	{ "/huge", "HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\nok", false },
	{ "/garbage", "\x01\x02 nonsense \xff\r\n\r\n", false },
	{ "/short", "HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\nok", true },
	{ "/short-chunk", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nok",
	  true },
	{ "/short-head", "HTTP/1.1 200 OK\r\nConte", true },
	{ "/silent", "", true },
	{ "/upgrade", "HTTP/1.1 101 Switching\r\nUpgrade: x\r\n\r\n", false },
};
#define SAYINGS (sizeof(sayings) / sizeof(sayings[0]))
#define FIRST_BROKEN 12

static atomic_bool released; /* for /hang */
static char seen_head[4096]; /* of /seen; written before it is answered */

static void reset(int fd)
{
	struct linger linger = { 1, 0 };

	setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
}

static bool drip(int fd, const char *text)
{
	for (; *text; text++) {
		if (send(fd, text, 1, MSG_NOSIGNAL) != 1)
			return false;
		usleep(5000);
	}
	return true;
}

static bool say_for_ever(int fd, const char *first, const char *text)
{
	test_say(fd, first);
	while (send(fd, text, strlen(text), MSG_NOSIGNAL) > 0)
		;
	return false;
}

static bool answer_once(int fd, const struct test_request *request)
{
	if (request->number > 1)
		return false;
	test_say(fd, sayings[0].says);
	return true;
}

static bool answer_echo(int fd, const struct test_request *request)
{
	char head[100];

	snprintf(head, sizeof(head), "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n",
		 request->body_size);
	test_say(fd, head);
	for (size_t at = 0; at < request->body_size;) {
		ssize_t sent = send(fd, request->body + at, request->body_size - at,
				    MSG_NOSIGNAL);

		if (sent <= 0)
			return false;
		at += (size_t)sent;
	}
	return true;
}

static bool answer_hang(int fd)
{
	char byte;

	while (!atomic_load(&released)) {
		if (recv(fd, &byte, 1, MSG_DONTWAIT) == 0)
			return false;
		usleep(1000);
	}
	test_say(fd, sayings[0].says);
	return true;
}

static bool hostile_answer(void *context, int fd, const struct test_request *request)
{
	const char *path = request->path;

	for (size_t i = 0; i < SAYINGS; i++)
		if (strcmp(path, sayings[i].path) == 0) {
			test_say(fd, sayings[i].says);
			return !sayings[i].closes;
		}
	if (strcmp(path, "/echo") == 0)
		return answer_echo(fd, request);
	if (strcmp(path, "/once") == 0)
		return answer_once(fd, request);
	if (strcmp(path, "/hang") == 0)
		return answer_hang(fd);
	if (strcmp(path, "/drip") == 0)
		return drip(fd, "HTTP/1.1 200 OK\r\nContent-Length: 400\r\n\r\n") &&
		       drip(fd, "slow slow slow slow slow slow slow slow slow slow");
	if (strcmp(path, "/drip-ok") == 0)
		return drip(fd, sayings[0].says);
	if (strcmp(path, "/headers") == 0)
		return say_for_ever(fd, "HTTP/1.1 200 OK\r\n",
				    "x: yyyyyyyyyyyyyyyyy\r\n");
	if (strcmp(path, "/body") == 0)
		return say_for_ever(fd, "HTTP/1.1 200 OK\r\n\r\n", "endless");
	if (strcmp(path, "/seen") == 0) {
		snprintf(seen_head, sizeof(seen_head), "%s", request->head);
		test_say(fd, sayings[0].says);
		return true;
	}
	if (strcmp(path, "/early") == 0) {
		test_say(fd, "HTTP/1.1 413 Large\r\nContent-Length: 2\r\n\r\nno");
		/* Lets the client read before the unread body makes the kernel send a
		 * reset. */
		usleep(100000);
		return false;
	}
	reset(fd);
	if (strcmp(path, "/reset-late") == 0)
		test_say(fd, "HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\nok");
	return false;
}

#endif
