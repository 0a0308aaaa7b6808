/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>

#include "http/websocket.h"
#include "site.h"

#include <cmocka.h>

/* --- a chat ----------------------------------------------------------------------- */

struct chat {
	struct site site;
	struct websocket_config config;
	struct http_request *request; /* to be accepted later */
	struct timer timer;
	bool accept_later;
	_Atomic int opened;
	_Atomic int messages;
	_Atomic int closed; /* how many */
	_Atomic int code;
	_Atomic int refused; /* messages that could not be sent */
};

struct talk {
	struct chat *chat;
	struct websocket *websocket;
};

static int send_much(struct talk *talk, int times)
{
	static char much[65536];
	int sent = 0;

	memset(much, 'x', sizeof(much));
	for (int i = 0; i < times; i++)
		sent += websocket_send(talk->websocket, slice_of(much, sizeof(much)));
	return sent;
}

static void on_message(void *context, struct slice text)
{
	struct talk *talk = context;

	talk->chat->messages++;
	if (slice_equal(text, SLICE("bye"))) {
		websocket_close(talk->websocket, 4001, SLICE("as you wish"));
		websocket_close(talk->websocket, 4002, SLICE("once is enough"));
		assert_false(websocket_send(talk->websocket, SLICE("too late")));
	} else if (slice_equal(text, SLICE("speech"))) {
		assert_int_equal(send_much(talk, 15), 15);
		websocket_close(talk->websocket, 4001, SLICE("all is said"));
	} else if (slice_equal(text, SLICE("flood"))) {
		talk->chat->refused += 1000 - send_much(talk, 1000);
	} else {
		assert_true(websocket_send(talk->websocket, text));
	}
}

static void on_closed(void *context, int code)
{
	struct talk *talk = context;

	websocket_close(talk->websocket, 1000, SLICE("")); /* too late, and no harm */
	talk->chat->code = code;
	talk->chat->closed++;
	free(talk);
}

static void chat_accept(void *context)
{
	static const struct websocket_handler handler = { on_message, on_closed };
	struct chat *chat = context;
	struct talk *talk = mem_zeroed(1, sizeof(*talk));

	talk->chat = chat;
	talk->websocket = websocket_accept(chat->request, chat->site.loop, &chat->config,
					   &handler, talk);
	if (talk->websocket) {
		assert_true(websocket_send(talk->websocket, SLICE("welcome")));
		chat->opened++;
	} else {
		free(talk);
	}
}

static void chat_serve(void *context, struct http_request *request)
{
	struct chat *chat = context;

	if (slice_equal(http_request_path(request), SLICE("/asked"))) {
		http_respond(request, websocket_asked(request) ? 200 : 400, NULL, 0,
			     SLICE(""));
		return;
	}
	chat->request = request;
	if (chat->accept_later)
		timer_start(chat->site.loop, &chat->timer,
			    mono_after_ms(loop_now(chat->site.loop), 5), chat_accept,
			    chat);
	else
		chat_accept(chat);
}

static void chat_open(struct chat *chat)
{
	struct http_server_config config = site_config(chat_serve, chat);
	struct websocket_config limits = { .message_size_max = 100000,
					   .queue_size_max = 1 << 20 };

	*chat = (struct chat){ .config = limits };
	site_open(&chat->site, &config);
}

static bool chat_waits(_Atomic int *value, int wanted)
{
	for (int tries = 0; *value < wanted && tries < PATIENCE_MS / 5; tries++)
		poll(NULL, 0, 5);
	return *value == wanted;
}

/* --- the client ------------------------------------------------------------------- */

#define HANDSHAKE                                                                        \
	"GET /ws HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"   \
	"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"

static int client_open(struct chat *chat)
{
	int fd = client_connect(&chat->site);
	char *answer;

	assert_true(client_send(fd, HANDSHAKE "\r\n"));
	answer = client_read_answer(fd, true);
	assert_true(answer_has(answer, "HTTP/1.1 101 Switching Protocols\r\n"));
	assert_true(
		answer_has(answer, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")); /* RFC 6455, 1.3 */
	free(answer);
	return fd;
}

static void frame_put(struct buf *out, unsigned first, struct slice payload)
{
	static const unsigned char mask[4] = { 1, 2, 3, 4 };

	buf_append_byte(out, (char)first);
	if (payload.size < 126) {
		buf_append_byte(out, (char)(0x80 | payload.size));
	} else if (payload.size < 65536) {
		buf_append_byte(out, (char)(0x80 | 126));
		buf_append_byte(out, (char)(payload.size >> 8));
		buf_append_byte(out, (char)payload.size);
	} else {
		buf_append_byte(out, (char)(0x80 | 127));
		for (int shift = 56; shift >= 0; shift -= 8)
			buf_append_byte(out, (char)((uint64_t)payload.size >> shift));
	}
	buf_append(out, slice_of((const char *)mask, 4));
	for (size_t i = 0; i < payload.size; i++)
		buf_append_byte(out, (char)(payload.at[i] ^ mask[i % 4]));
}

static void frame_send(int fd, unsigned first, struct slice payload)
{
	struct buf out = { 0 };

	frame_put(&out, first, payload);
	assert_true(client_send_bytes(fd, buf_slice(&out)));
	buf_finish(&out);
}

static bool bytes_read(int fd, void *bytes, size_t size)
{
	for (char *at = bytes; size;) {
		ssize_t got = recv(fd, at, size, 0);

		if (got <= 0)
			return false;
		at += got;
		size -= (size_t)got;
	}
	return true;
}

/* Gives the first byte (FIN and opcode), -1 at the end; the payload, terminated, is the
 * caller's. */
static int frame_read(int fd, struct buf *payload)
{
	unsigned char head[10];
	size_t size;

	buf_reset(payload);
	if (!bytes_read(fd, head, 2))
		return -1;
	assert_int_equal(head[1] & 0x80, 0); /* a server does not mask */
	size = head[1];
	if (size >= 126) {
		size_t more = size == 126 ? 2 : 8;

		assert_true(bytes_read(fd, head + 2, more));
		size = 0;
		for (size_t i = 0; i < more; i++)
			size = size << 8 | head[2 + i];
	}
	assert_true(bytes_read(fd, buf_reserve(payload, size + 1), size));
	payload->size = size;
	buf_text(payload);
	return head[0];
}

static void assert_text(int fd, const char *text)
{
	struct buf payload = { 0 };

	assert_int_equal(frame_read(fd, &payload), 0x81);
	assert_string_equal(buf_text(&payload), text);
	buf_finish(&payload);
}

static void assert_close(int fd, int code)
{
	struct buf payload = { 0 };

	assert_int_equal(frame_read(fd, &payload), 0x88);
	assert_true(payload.size >= 2);
	assert_int_equal((unsigned char)payload.at[0] << 8 | (unsigned char)payload.at[1],
			 code);
	buf_finish(&payload);
}

static void assert_end(int fd)
{
	struct buf payload = { 0 };

	assert_int_equal(frame_read(fd, &payload), -1);
	buf_finish(&payload);
	close(fd);
}

/* --- what is promised ------------------------------------------------------------- */

static void messages_go_both_ways_and_a_close_is_answered(void **state)
{
	struct chat chat;
	char *large = memset(mem_zeroed(1, 70001), 'y', 70000);
	int fd;

	for (int later = 0; later < 2; later++) {
		chat_open(&chat);
		chat.accept_later = later;
		fd = client_open(&chat);
		assert_text(fd, "welcome");
		frame_send(fd, 0x81, SLICE("hello"));
		assert_text(fd, "hello");
		frame_send(fd, 0x81, SLICE(""));
		assert_text(fd, "");
		frame_send(fd, 0x81, slice_text(large));
		assert_text(fd, large);
		frame_send(fd, 0x01, SLICE("in "));
		frame_send(fd, 0x89, SLICE("ping")); /* between the parts */
		frame_send(fd, 0x80, SLICE("parts"));
		{
			struct buf pong = { 0 };

			assert_int_equal(frame_read(fd, &pong), 0x8A);
			assert_string_equal(buf_text(&pong), "ping");
			buf_finish(&pong);
		}
		assert_text(fd, "in parts");
		assert_true(site_reaches(&chat.site, 0, 1)); /* no request in flight */
		frame_send(fd, 0x88,
			   SLICE("\x03\xE8"
				 "done"));
		assert_close(fd, 1000);
		assert_end(fd);
		assert_true(chat_waits(&chat.closed, 1));
		assert_int_equal(chat.code, 1000);
		assert_true(site_reaches(&chat.site, 0, 0));
		site_close(&chat.site);
	}
	free(large);
}

static void frames_may_come_with_the_handshake_and_in_any_pieces(void **state)
{
	struct chat chat;
	struct buf out = { 0 };
	char *answer;
	int fd;

	chat_open(&chat);
	fd = client_connect(&chat.site);
	buf_append(&out, SLICE(HANDSHAKE "\r\n"));
	for (int i = 0; i < 10; i++)
		frame_put(&out, 0x81, SLICE("early"));
	for (size_t i = 0; i < out.size; i += 7) {
		size_t size = out.size - i < 7 ? out.size - i : 7;

		assert_true(client_send_bytes(fd, slice_of(out.at + i, size)));
	}
	answer = client_read_answer(fd, true);
	assert_true(answer_has(answer, " 101 "));
	free(answer);
	assert_text(fd, "welcome");
	for (int i = 0; i < 10; i++)
		assert_text(fd, "early");
	close(fd);
	buf_finish(&out);
	assert_true(chat_waits(&chat.closed, 1));
	assert_int_equal(chat.code, 1006);
	site_close(&chat.site);
}

static void the_server_closes_once_with_its_code(void **state)
{
	struct chat chat;
	int fd;

	chat_open(&chat);
	fd = client_open(&chat);
	assert_text(fd, "welcome");
	frame_send(fd, 0x81, SLICE("bye"));
	assert_close(fd, 4001);
	frame_send(fd, 0x81, SLICE("not heard any more"));
	frame_send(fd, 0x88, SLICE("\x0F\xA1"));
	assert_end(fd);
	assert_true(chat_waits(&chat.closed, 1));
	assert_int_equal(chat.code, 4001);
	assert_int_equal(chat.messages, 1);
	site_close(&chat.site);
}

static void what_was_sent_before_a_close_arrives(void **state)
{
	struct chat chat;
	struct buf payload = { 0 };
	int fd;

	chat_open(&chat);
	fd = client_open(&chat);
	assert_text(fd, "welcome");
	frame_send(fd, 0x81, SLICE("speech"));
	assert_true(chat_waits(&chat.messages, 1));
	for (int i = 0; i < 15; i++) {
		assert_int_equal(frame_read(fd, &payload), 0x81);
		assert_int_equal(payload.size, 65536);
	}
	assert_close(fd, 4001);
	frame_send(fd, 0x88, SLICE("\x0F\xA1"));
	assert_end(fd);
	assert_true(chat_waits(&chat.closed, 1));
	buf_finish(&payload);
	site_close(&chat.site);
}

static void wrong_frames_end_the_connection_with_the_right_code(void **state)
{
	static const struct {
		unsigned first;
		struct slice payload;
		int code;
	} cases[] = {
		{ 0x82, { "binary", 6 }, 1003 },
		{ 0x81, { "bad \xC3(", 6 }, 1007 },
		{ 0x81, { "\xED\xA0\x80", 3 }, 1007 },
		{ 0x80, { "nothing to continue", 19 }, 1002 },
		{ 0xC1, { "reserved bit", 12 }, 1002 },
		{ 0x83, { "unknown opcode", 14 }, 1002 },
	};
	struct chat chat;
	char *large = memset(mem_zeroed(1, 100001), 'y', 100001);
	int fd;

	chat_open(&chat);
	for (size_t i = 0; i <= sizeof(cases) / sizeof(cases[0]); i++) {
		fd = client_open(&chat);
		assert_text(fd, "welcome");
		if (i < sizeof(cases) / sizeof(cases[0])) {
			frame_send(fd, cases[i].first, cases[i].payload);
			assert_close(fd, cases[i].code);
		} else {
			frame_send(fd, 0x81, slice_of(large, 100001));
			assert_close(fd, 1009);
		}
		frame_send(fd, 0x88, SLICE("\x03\xE8"));
		close(fd);
		assert_true(chat_waits(&chat.closed, (int)i + 1));
		assert_int_equal(chat.messages, 0);
	}
	free(large);
	site_close(&chat.site);
}

static void a_message_of_too_many_fragments_ends_the_connection(void **state)
{
	struct chat chat;
	struct buf out = { 0 };
	int fd;

	chat_open(&chat);
	for (int size = 0; size < 2; size++) {
		fd = client_open(&chat);
		assert_text(fd, "welcome");
		for (int i = 0; i < 1025; i++)
			frame_put(&out, i ? 0 : 1, slice_of("x", (size_t)size));
		assert_true(client_send_bytes(fd, buf_slice(&out)));
		buf_reset(&out);
		assert_close(fd, 1008);
		frame_send(fd, 0x88, SLICE("\x03\xE8"));
		close(fd);
		assert_true(chat_waits(&chat.closed, size + 1));
	}
	assert_int_equal(chat.messages, 0);
	fd = client_open(&chat);
	assert_text(fd, "welcome");
	for (int i = 0; i < 1024; i++)
		frame_put(&out, i ? 0 : 1, SLICE(""));
	frame_put(&out, 0x80, SLICE("whole"));
	assert_true(client_send_bytes(fd, buf_slice(&out)));
	assert_true(chat_waits(&chat.messages, 1));
	close(fd);
	buf_finish(&out);
	site_close(&chat.site);
}

/* With or without a close frame: wslay drops at once what no client sends by mistake. */
static void frames_that_no_client_sends_end_the_connection(void **state)
{
	static const struct slice frames[] = {
		{ "\x81\x05hello", 7 }, /* not masked */
		{ "\x88\x81\1\2\3\4x", 7 }, /* half a close code */
		{ "\x09\x80\1\2\3\4", 6 }, /* a ping in parts */
		{ "\x89\xFE\0\x7E\1\2\3\4", 8 }, /* a long ping */
		{ "\x81\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\1\2\3\4", 14 }, /* too long */
	};
	struct chat chat;
	struct buf payload = { 0 };

	chat_open(&chat);
	for (int i = 0; i < 5; i++) {
		int fd = client_open(&chat), first;

		assert_text(fd, "welcome");
		assert_true(client_send_bytes(fd, frames[i]));
		first = frame_read(fd, &payload);
		assert_true(first == 0x88 || first == -1);
		close(fd);
		assert_true(chat_waits(&chat.closed, i + 1));
		assert_int_equal(chat.messages, 0);
	}
	buf_finish(&payload);
	site_close(&chat.site);
}

static void a_slow_reader_is_bounded_and_let_go(void **state)
{
	struct chat chat;
	struct buf payload = { 0 };
	int fd, first, texts = 0;

	chat_open(&chat);
	fd = client_open(&chat);
	assert_text(fd, "welcome");
	frame_send(fd, 0x81, SLICE("flood"));
	assert_true(chat_waits(&chat.messages, 1));
	while ((first = frame_read(fd, &payload)) == 0x81)
		texts++;
	assert_int_equal(first, 0x88);
	assert_int_equal((unsigned char)payload.at[0] << 8 | (unsigned char)payload.at[1],
			 1008);
	assert_true(texts <= 16); /* of 64 KiB in a queue of 1 MiB */
	assert_int_equal(chat.refused,
			 1000 - 16); /* what waits is dropped with the rest */
	buf_finish(&payload);
	close(fd);
	assert_true(chat_waits(&chat.closed, 1));
	site_close(&chat.site);
}

static void pings_of_a_client_that_reads_nothing_are_bounded(void **state)
{
	struct chat chat;
	struct buf out = { 0 };
	char filler[120];
	struct timeval patience = { 1, 0 };
	int fd;

	memset(filler, 'p', sizeof(filler));
	chat_open(&chat);
	fd = client_open(&chat);
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
	for (int i = 0; i < 1000; i++)
		frame_put(&out, 0x89, slice_of(filler, sizeof(filler)));
	for (int i = 0; i < 1000 && !chat.closed; i++)
		if (!client_send_bytes(fd, buf_slice(&out)))
			break;
	assert_true(chat_waits(&chat.closed, 1));
	close(fd);
	buf_finish(&out);
	site_close(&chat.site);
}

static void a_client_that_answers_no_ping_is_given_up(void **state)
{
	struct chat chat;
	struct buf payload = { 0 };
	struct mono start;
	int fd;

	chat_open(&chat);
	chat.config.ping_ms = 100;
	fd = client_open(&chat);
	assert_text(fd, "welcome");
	start = clock_mono();
	for (int i = 0; i < 5; i++) { /* alive as long as it answers */
		assert_int_equal(frame_read(fd, &payload), 0x89);
		frame_send(fd, 0x8A, buf_slice(&payload));
	}
	assert_int_equal(chat.closed, 0);
	assert_int_equal(frame_read(fd, &payload), 0x89);
	assert_int_equal(frame_read(fd, &payload), 0x89);
	assert_int_equal(frame_read(fd, &payload), -1);
	assert_true(mono_seconds(start, clock_mono()) >= 0.75);
	assert_true(chat_waits(&chat.closed, 1));
	assert_int_equal(chat.code, 1006);
	close(fd);
	buf_finish(&payload);
	site_close(&chat.site);
}

static void a_close_that_is_not_answered_ends_by_itself(void **state)
{
	struct chat chat;
	struct mono start;
	int fd;

	chat_open(&chat);
	fd = client_open(&chat);
	assert_text(fd, "welcome");
	frame_send(fd, 0x81, SLICE("bye"));
	assert_close(fd, 4001);
	start = clock_mono();
	assert_int_equal(chat.closed, 0);
	for (int tries = 0; !chat.closed && tries < 2000; tries++)
		poll(NULL, 0, 5);
	assert_int_equal(chat.closed, 1);
	assert_int_equal(chat.code, 1006);
	assert_true(mono_seconds(start, clock_mono()) > 4);
	close(fd);
	site_close(&chat.site);
}

static void a_bad_handshake_is_answered_with_400(void **state)
{
	static const struct {
		const char *request;
		bool good;
	} cases[] = {
		{ HANDSHAKE, true },
		{ "GET /ws HTTP/1.1\r\nHost: a\r\n", false },
		{ "GET /ws HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: "
		  "Upgrade\r\n"
		  "Sec-WebSocket-Version: 13\r\n",
		  false },
		{ "GET /ws HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: "
		  "Upgrade\r\n"
		  "Sec-WebSocket-Key: short\r\nSec-WebSocket-Version: 13\r\n",
		  false },
		{ "GET /ws HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: "
		  "Upgrade\r\n"
		  "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: "
		  "8\r\n",
		  false },
		{ "POST /ws HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: "
		  "Upgrade\r\n"
		  "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: "
		  "13\r\n"
		  "Content-Length: 0\r\n",
		  false },
	};
	struct chat chat;

	chat_open(&chat);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct buf request = { 0 };
		char *answer, *place;
		int fd = client_connect(&chat.site);

		buf_printf(&request, "%s\r\n", cases[i].request);
		assert_true(client_send(fd, buf_text(&request)));
		answer = client_read_answer(fd, cases[i].good);
		assert_true(answer_has(answer, cases[i].good ? " 101 " : " 400 "));
		assert_true(cases[i].good ||
			    answer_has(answer, "sec-websocket-version: 13"));
		free(answer);
		close(fd);

		place = strstr(request.at, "/ws"); /* and websocket_asked says the same */
		buf_reset(&request);
		buf_printf(&request, "%.*s /asked%s\r\n", (int)(place - request.at - 1),
			   cases[i].request, strstr(cases[i].request, " HTTP/"));
		fd = client_connect(&chat.site);
		assert_true(client_send(fd, buf_text(&request)));
		answer = client_read_answer(fd, false);
		assert_true(answer_has(answer, cases[i].good ? " 200 " : " 400 "));
		free(answer);
		close(fd);
		buf_finish(&request);
	}
	assert_true(site_reaches(&chat.site, 0, 0));
	assert_int_equal(chat.opened, 1);
	site_close(&chat.site);
}

static void many_clients_that_leave_at_any_moment_harm_nobody(void **state)
{
	struct chat chat;
	struct buf out = { 0 };

	chat_open(&chat);
	buf_append(&out, SLICE(HANDSHAKE "\r\n"));
	frame_put(&out, 0x81, SLICE("one"));
	frame_put(&out, 0x89, SLICE(""));
	frame_put(&out, 0x81, SLICE("bye"));
	frame_put(&out, 0x88, SLICE(""));
	for (size_t i = 0; i < 2 * out.size; i++) {
		struct linger linger = { .l_onoff = (int)(i & 1) };
		int fd = client_connect(&chat.site);

		assert_true(client_send_bytes(fd, slice_of(out.at, i / 2)));
		setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
		if (i % 5 == 0)
			poll(NULL, 0, 1);
		close(fd);
	}
	assert_true(site_reaches(&chat.site, 0, 0));
	assert_int_equal(chat.opened, chat.closed);
	buf_finish(&out);
	site_close(&chat.site);
}

static void a_server_dies_cleanly_with_websockets_open(void **state)
{
	struct chat chat;
	int fd;

	chat_open(&chat);
	fd = client_open(&chat);
	assert_text(fd, "welcome");
	site_close(&chat.site);
	assert_int_equal(chat.closed, 1);
	assert_int_equal(chat.code, 1006);
	assert_end(fd);
}

int main(int count, char **args)
{
	if (count > 1)
		cmocka_set_test_filter(args[1]);
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(messages_go_both_ways_and_a_close_is_answered),
		cmocka_unit_test(frames_may_come_with_the_handshake_and_in_any_pieces),
		cmocka_unit_test(the_server_closes_once_with_its_code),
		cmocka_unit_test(what_was_sent_before_a_close_arrives),
		cmocka_unit_test(wrong_frames_end_the_connection_with_the_right_code),
		cmocka_unit_test(a_message_of_too_many_fragments_ends_the_connection),
		cmocka_unit_test(frames_that_no_client_sends_end_the_connection),
		cmocka_unit_test(a_slow_reader_is_bounded_and_let_go),
		cmocka_unit_test(pings_of_a_client_that_reads_nothing_are_bounded),
		cmocka_unit_test(a_client_that_answers_no_ping_is_given_up),
		cmocka_unit_test(a_close_that_is_not_answered_ends_by_itself),
		cmocka_unit_test(a_bad_handshake_is_answered_with_400),
		cmocka_unit_test(many_clients_that_leave_at_any_moment_harm_nobody),
		cmocka_unit_test(a_server_dies_cleanly_with_websockets_open),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
