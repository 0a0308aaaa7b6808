/* SPDX-License-Identifier: MIT */
/* socket_client.h -- WebSocket clients of a service on a rig: one is heard at a time. */
#ifndef TEST_API_SOCKET_CLIENT_H
#define TEST_API_SOCKET_CLIENT_H

#include "service_rig.h"

#define TEXT 0x1
#define CLOSE 0x8
#define PING 0x9

static struct service_rig rig;
static struct buf incoming; /* of the client that is heard */

static inline void ask(int fd, const char *path)
{
	char request[512];

	snprintf(request, sizeof(request),
		 "GET %s HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: "
		 "websocket\r\n"
		 "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: "
		 "dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
		 path);
	service_rig_send(fd, request);
}

/* Turns until the client has this many bytes; false when the connection is closed. */
static inline bool receive(int fd, size_t size)
{
	for (int turns = 0; turns < PATIENCE_TURNS && incoming.size < size; turns++) {
		ssize_t got;

		loop_turn(rig.rig.loop, 10);
		got = recv(fd, buf_reserve(&incoming, 4096), 4096, MSG_DONTWAIT);
		if (got == 0)
			return false;
		if (got > 0)
			incoming.size += (size_t)got;
	}
	return incoming.size >= size;
}

/* An open connection; what came with the handshake's answer is in incoming. */
static inline int connect_to(const char *path)
{
	int fd = service_rig_connect(&rig);
	const char *end;

	buf_reset(&incoming);
	ask(fd, path);
	while (!(end = strstr(buf_text(&incoming), "\r\n\r\n")))
		assert_true(receive(fd, incoming.size + 1));
	assert_contains(buf_text(&incoming), "HTTP/1.1 101 ");
	buf_consume(&incoming, (size_t)(end + 4 - incoming.at));
	return fd;
}

/* A masked frame; the mask is zero. */
static inline void say(int fd, int opcode, const char *text, size_t size)
{
	char frame[256] = { (char)(0x80 | opcode), (char)(0x80 | size) };

	check(size < 126);
	memcpy(frame + 6, text, size);
	check(send(fd, frame, size + 6, MSG_NOSIGNAL) == (ssize_t)size + 6);
}

static inline void say_text(int fd, const char *text)
{
	say(fd, TEXT, text, strlen(text));
}

static inline void assert_hears(int fd, int opcode, const char *text, size_t size)
{
	assert_true(receive(fd, 2));
	assert_int_equal(incoming.at[0] & 0x0f, opcode);
	assert_true(receive(fd, 2 + (size_t)incoming.at[1]));
	if (incoming.at[1] != (char)size || memcmp(incoming.at + 2, text, size) != 0)
		fail_msg("%.*s", (int)incoming.at[1], incoming.at + 2);
	buf_consume(&incoming, 2 + (size_t)incoming.at[1]);
}

static inline void assert_hears_text(int fd, const char *text)
{
	assert_hears(fd, TEXT, text, strlen(text));
}

static inline void assert_hears_close(int fd, unsigned code)
{
	char bytes[2] = { (char)(code >> 8), (char)code };

	assert_true(receive(fd, 4));
	assert_int_equal(incoming.at[0] & 0x0f, CLOSE);
	assert_memory_equal(incoming.at + 2, bytes, 2);
	say(fd, CLOSE, bytes, 2);
}

static inline double seconds_now(void)
{
	return (double)clock_wall().ns / 1e9;
}

/* An open connection of "/until/:at", which is to end so many seconds from now. */
static inline int connect_until(double seconds)
{
	char path[64];

	snprintf(path, sizeof(path), "/until/%.3f", seconds_now() + seconds);
	return connect_to(path);
}

static inline void assert_expires(int fd)
{
	assert_hears(fd, CLOSE,
		     "\x0f\xa1"
		     "expired",
		     9);
	say(fd, CLOSE, "\x0f\xa1", 2);
}

#endif
