/* SPDX-License-Identifier: MIT */
#include "stream_service.h"

#define AGAIN_ "GET /0/0/at_once HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"

/* Sends the text, reads until the server closes. */
static char *talk(struct faucet *faucet, const char *text)
{
	int fd = client_connect(&faucet->site);
	char *all;

	assert_true(client_send(fd, text));
	all = client_read_all(fd);
	close(fd);
	assert_non_null(all);
	return all;
}

static const char *body_of(const char *answer)
{
	const char *end = strstr(answer, "\r\n\r\n");

	assert_non_null(end);
	return end + 4;
}

/* --- framing ---------------------------------------------------------------------- */

static void pieces_arrive_in_order_and_the_connection_is_kept(void **state)
{
	struct faucet faucet;
	char *all, *want = flow_text(20, 10000), *joined;
	const char *rest = "";

	faucet_open(&faucet, NULL);
	all = talk(&faucet, "GET /20/10000/told HTTP/1.1\r\nHost: a\r\n\r\n" AGAIN_);
	assert_true(answer_has(all, "Content-Length: 200000\r\n"));
	assert_true(answer_has(all, "Connection: keep-alive\r\n"));
	assert_true(answer_has(all, "x-own: kept\r\n"));
	assert_memory_equal(body_of(all), want, 200000);
	assert_int_equal(strncmp(body_of(all) + 200000, "HTTP/1.1 200 OK", 15), 0);
	free(all);
	all = talk(&faucet, "GET /20/10000/open HTTP/1.1\r\nHost: a\r\n\r\n" AGAIN_);
	assert_true(answer_has(all, "transfer-encoding: chunked\r\n"));
	assert_true(answer_has(all, "Connection: keep-alive\r\n"));
	joined = chunks_join(body_of(all), &rest);
	assert_string_equal(joined, want);
	assert_int_equal(strncmp(rest, "HTTP/1.1 200 OK", 15), 0);
	free(joined);
	free(all);
	free(want);
	faucet_close(&faucet);
}

static void any_status_may_come_in_chunks(void **state)
{
	struct faucet faucet;
	char *all, *joined;
	const char *rest = "";

	faucet_open(&faucet, NULL);
	all = talk(&faucet,
		   "GET /3/2/open HTTP/1.1\r\nHost: a\r\nx-status: 404\r\n\r\n" AGAIN_);
	assert_true(answer_has(all, "HTTP/1.1 404 Not Found\r\n"));
	assert_true(answer_has(all, "Connection: keep-alive\r\n"));
	joined = chunks_join(body_of(all), &rest);
	assert_string_equal(joined, "aabbcc");
	assert_int_equal(strncmp(rest, "HTTP/1.1 200 OK", 15), 0);
	free(joined);
	free(all);
	faucet_close(&faucet);
}

static void what_begins_and_ends_at_once_is_whole(void **state)
{
	struct faucet faucet;
	char *all;

	faucet_open(&faucet, NULL);
	all = talk(&faucet, "GET /1/3/at_once HTTP/1.1\r\nHost: a\r\n\r\n" AGAIN_);
	assert_int_equal(strncmp(body_of(all), "3\r\naaa\r\n0\r\n\r\nHTTP/1.1 200", 25),
			 0);
	assert_string_equal(body_of(body_of(body_of(all))), "0\r\n\r\n");
	free(all);
	faucet_close(&faucet);
}

static void http_1_0_gets_an_open_answer_until_the_connection_closes(void **state)
{
	struct faucet faucet;
	char *all;

	faucet_open(&faucet, NULL);
	all = talk(&faucet,
		   "GET /3/2/open HTTP/1.0\r\nConnection: keep-alive\r\n\r\n" AGAIN_);
	assert_true(answer_has(all, "Connection: close\r\n"));
	assert_false(answer_has(all, "chunked"));
	assert_string_equal(body_of(all), "aabbcc");
	free(all);
	all = talk(&faucet,
		   "GET /3/2/told HTTP/1.0\r\nConnection: keep-alive\r\n\r\n" AGAIN_);
	assert_true(answer_has(all, "Content-Length: 6\r\n"));
	assert_int_equal(strncmp(body_of(all), "aabbccHTTP/1.1 200", 18), 0);
	free(all);
	faucet_close(&faucet);
}

static void an_answer_that_has_no_body_gets_none(void **state)
{
	static const struct {
		const char *request, *has, *has_not;
	} cases[] = {
		{ "HEAD /3/2/told HTTP/1.1\r\nHost: a\r\n\r\n", "Content-Length: 6\r\n",
		  "chunked" },
		{ "HEAD /3/2/open HTTP/1.1\r\nHost: a\r\n\r\n", "200 OK\r\n", "chunked" },
		{ "GET /3/2/open HTTP/1.1\r\nHost: a\r\nx-status: 204\r\n\r\n",
		  "204 No Content\r\n", "chunked" },
		{ "GET /3/2/told HTTP/1.1\r\nHost: a\r\nx-status: 304\r\n\r\n",
		  "304 Not Modified\r\n", "Content-Length" },
	};
	struct faucet faucet;

	faucet_open(&faucet, NULL);
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		char text[512], *all, *end;

		snprintf(text, sizeof(text), "%s%s", cases[i].request, AGAIN_);
		all = talk(&faucet, text);
		end = (char *)body_of(all);
		assert_int_equal(strncmp(end, "HTTP/1.1 200 OK", 15), 0);
		*end = '\0';
		assert_true(answer_has(all, cases[i].has));
		assert_true(answer_has(all, "Connection: keep-alive"));
		assert_false(answer_has(all, cases[i].has_not));
		free(all);
	}
	faucet_close(&faucet);
}

/* --- what is cut is seen to be cut ------------------------------------------------ */

static void a_length_that_is_not_reached_breaks_the_connection(void **state)
{
	struct faucet faucet;
	char *all;

	faucet_open(&faucet, NULL);
	all = talk(&faucet, "GET /3/2/short HTTP/1.1\r\nHost: a\r\n\r\n" AGAIN_);
	assert_true(answer_has(all, "Content-Length: 6\r\n"));
	assert_string_equal(body_of(all), "aabbc");
	free(all);
	faucet_close(&faucet);
}

static void an_answer_that_is_broken_off_has_no_last_chunk(void **state)
{
	struct faucet faucet;
	char *all;

	faucet_open(&faucet, NULL);
	all = talk(&faucet, "GET /3/2/abort HTTP/1.1\r\nHost: a\r\n\r\n" AGAIN_);
	assert_string_equal(body_of(all), "2\r\naa\r\n2\r\nbb\r\n2\r\ncc\r\n");
	free(all);
	assert_true(site_reaches(&faucet.site, 0, 0));
	assert_int_equal(faucet.gone, 0);
	faucet_close(&faucet);
}

static void http_1_0_sees_a_reset(void **state)
{
	struct faucet faucet;
	char bytes[4096];
	ssize_t got;
	int fd;

	faucet_open(&faucet, NULL);
	fd = client_connect(&faucet.site);
	assert_true(client_send(fd, "GET /3/2/abort HTTP/1.0\r\n\r\n"));
	while ((got = recv(fd, bytes, sizeof(bytes), 0)) > 0)
		;
	assert_int_equal(got, -1);
	assert_int_equal(errno, ECONNRESET);
	close(fd);
	assert_true(site_reaches(&faucet.site, 0, 0));
	faucet_close(&faucet);
}

/* --- clients that are slow, or leave ---------------------------------------------- */

static void a_slow_client_holds_one_piece(void **state)
{
	enum { SIZE = 65536, COUNT = 1000 };
	struct faucet faucet;
	char *all, *want = flow_text(COUNT, SIZE);
	int fd, before = -1;

	faucet_open(&faucet, NULL);
	fd = client_connect(&faucet.site);
	assert_true(client_send(fd, "GET /1000/65536/told HTTP/1.1\r\nHost: a\r\n"
				    "Connection: close\r\n\r\n"));
	/* What the kernel takes is bounded: then it stops. */
	for (int same = 0, tries = 0; same < 20; tries++) {
		assert_true(tries < PATIENCE_MS / 5);
		poll(NULL, 0, 5);
		same = faucet.pieces == before ? same + 1 : 0;
		before = faucet.pieces;
	}
	assert_in_range(before, 1, COUNT / 2);
	assert_int_equal(site_counts(&faucet.site).in_flight, 1);
	all = client_read_all(fd);
	assert_memory_equal(body_of(all), want, (size_t)COUNT * SIZE);
	close(fd);
	free(all);
	free(want);
	faucet_close(&faucet);
}

static void who_takes_nothing_is_cut_and_who_waits_is_not(void **state)
{
	struct http_server_config config = site_config(NULL, NULL);
	struct faucet faucet;
	int waits, takes_nothing;
	char *all;

	config.idle_timeout_ms = 100;
	faucet_open(&faucet, &config);
	waits = client_connect(&faucet.site);
	assert_true(client_send(waits, "GET /1/3/wait HTTP/1.1\r\nHost: a\r\n\r\n"));
	takes_nothing = client_connect(&faucet.site);
	assert_true(client_send(takes_nothing,
				"GET /1000/65536/told HTTP/1.1\r\nHost: a\r\n\r\n"));
	wait_for(&faucet.gone, 1);
	close(takes_nothing);
	/* A connection without a request shows that the other was looked at since. */
	takes_nothing = client_connect(&faucet.site);
	all = client_read_all(takes_nothing);
	assert_string_equal(all, "");
	free(all);
	close(takes_nothing);
	assert_true(site_reaches(&faucet.site, 1, 1));
	site_do(&faucet.site, faucet_let, &faucet);
	all = client_read_all(waits);
	assert_string_equal(body_of(all), "3\r\naaa\r\n0\r\n\r\n");
	free(all);
	close(waits);
	assert_int_equal(faucet.gone, 1);
	faucet_close(&faucet);
}

static void a_client_that_leaves_is_noticed(void **state)
{
	static const char *const paths[] = { "/1/3/wait", "/1000/65536/told",
					     "/1000/65536/open" };
	struct faucet faucet;

	faucet_open(&faucet, NULL);
	for (int i = 0; i < 6; i++) {
		int fd = client_connect(&faucet.site);
		int before = faucet.pieces;
		char text[256];

		snprintf(text, sizeof(text), "GET %s HTTP/1.1\r\nHost: a\r\n\r\n",
			 paths[i / 2]);
		assert_true(client_send(fd, text));
		wait_for(&faucet.pieces, before + 1);
		if (i % 2)
			set_reset_on_close(fd);
		close(fd);
		wait_for(&faucet.gone, i + 1);
		assert_true(site_reaches(&faucet.site, 0, 0));
	}
	assert_int_equal(faucet.ended, 0);
	faucet_close(&faucet);
}

static void an_answer_is_in_flight_until_its_end(void **state)
{
	struct faucet faucet;
	int fd;
	char *all;

	faucet_open(&faucet, NULL);
	fd = client_connect(&faucet.site);
	assert_true(client_send(fd, "GET /1/3/wait HTTP/1.1\r\nHost: a\r\n\r\n" AGAIN_));
	wait_for(&faucet.pieces, 1);
	assert_true(site_reaches(&faucet.site, 1, 1));
	site_do(&faucet.site, faucet_let, &faucet);
	all = client_read_all(fd); /* the request that came meanwhile is served */
	assert_true(answer_has(all, "0\r\n\r\nHTTP/1.1 200 OK"));
	free(all);
	close(fd);
	assert_true(site_reaches(&faucet.site, 0, 0));
	assert_int_equal(faucet.gone, 0);
	faucet_close(&faucet);
}

/* --- the end of the server -------------------------------------------------------- */

static void drain(void *context)
{
	http_server_drain(context);
}

static void a_draining_server_lets_an_answer_end(void **state)
{
	struct faucet faucet;
	int fds[2];
	char *all;

	faucet_open(&faucet, NULL);
	for (int i = 0; i < 2; i++)
		fds[i] = client_connect(&faucet.site);
	assert_true(client_send(fds[0], "GET /1/3/wait HTTP/1.1\r\nHost: a\r\n\r\n"));
	assert_true(client_send(fds[1], "GET /1/3/wa")); /* arrives late */
	assert_true(site_reaches(&faucet.site, 1, 2));
	poll(NULL, 0, 5);
	wait_for(&faucet.pieces, 1);
	site_do(&faucet.site, drain, faucet.site.server);
	assert_true(client_send(fds[1], "it HTTP/1.1\r\nHost: a\r\n\r\n"));
	wait_for(&faucet.pieces, 2);
	site_do(&faucet.site, faucet_let, &faucet);
	all = client_read_all(fds[1]);
	assert_true(answer_has(all, "Connection: close\r\n"));
	assert_string_equal(body_of(all), "3\r\naaa\r\n0\r\n\r\n");
	free(all);
	all = client_read_all(fds[0]);
	assert_string_equal(body_of(all), "3\r\naaa\r\n0\r\n\r\n");
	free(all);
	for (int i = 0; i < 2; i++)
		close(fds[i]);
	assert_true(site_reaches(&faucet.site, 0, 0));
	faucet_close(&faucet);
}

static void the_end_of_the_server_breaks_answers_off(void **state)
{
	static const char *const paths[] = { "/1/3/wait", "/1000/65536/told",
					     "/1000/65536/open" };
	struct faucet faucet;
	struct buf out = { 0 };
	int fds[4];

	faucet_open(&faucet, NULL);
	for (int i = 0; i < 3; i++) {
		char text[256];

		fds[i] = client_connect(&faucet.site);
		snprintf(text, sizeof(text), "GET %s HTTP/1.1\r\nHost: a\r\n\r\n",
			 paths[i]);
		assert_true(client_send(fds[i], text));
	}
	fds[3] = client_connect(&faucet.site);
	http2_begin(&out);
	http2_get(&out, 1, "/1/3/wait");
	http2_get(&out, 3, "/1000/65536/told");
	assert_true(client_send_bytes(fds[3], buf_slice(&out)));
	assert_true(site_reaches(&faucet.site, 5, 4));
	wait_for(&faucet.pieces, 5);
	faucet_close(&faucet);
	assert_int_equal(faucet.gone, 5);
	for (int i = 0; i < 4; i++) {
		char *all = client_read_all(fds[i]);

		assert_non_null(all);
		assert_false(answer_has(all, "0\r\n\r\n"));
		free(all);
		close(fds[i]);
	}
	buf_finish(&out);
}

/* --- HTTP/2 ----------------------------------------------------------------------- */

struct frame {
	unsigned type, flags, stream;
	size_t size;
	char bytes[20000];
};

static bool read_whole(int fd, char *at, size_t size)
{
	return recv(fd, at, size, MSG_WAITALL) == (ssize_t)size;
}

static void frame_read(int fd, struct frame *frame)
{
	unsigned char head[9];

	assert_true(read_whole(fd, (char *)head, 9));
	frame->size = (size_t)head[0] << 16 | (size_t)head[1] << 8 | head[2];
	frame->type = head[3];
	frame->flags = head[4];
	frame->stream = (unsigned)head[7] << 8 | head[8];
	assert_true(frame->size <= sizeof(frame->bytes));
	assert_true(read_whole(fd, frame->bytes, frame->size));
}

enum { DATA = 0, HEADERS = 1, RST_STREAM = 3, END_STREAM = 1 };

/* Reads frames until the stream ends; how: the type of its last. NULL: with a reset. */
static char *stream_read(int fd, unsigned stream, size_t *size, unsigned *how)
{
	struct frame *frame = mem_zeroed(1, sizeof(*frame));
	struct buf body = { 0 };
	char *text;

	for (;;) {
		frame_read(fd, frame);
		if (frame->stream != stream)
			continue;
		if (frame->type == DATA)
			buf_append(&body, slice_of(frame->bytes, frame->size));
		if (frame->type == RST_STREAM ||
		    (frame->type <= HEADERS && frame->flags & END_STREAM))
			break;
	}
	*how = frame->type;
	*size = body.size;
	text = mem_copy(body.at, body.size);
	buf_finish(&body);
	free(frame);
	return text;
}

static int http2_open(struct faucet *faucet)
{
	struct buf out = { 0 };
	int fd = client_connect(&faucet->site);

	http2_begin(&out);
	assert_true(client_send_bytes(fd, buf_slice(&out)));
	buf_finish(&out);
	return fd;
}

static void http2_ask(int fd, unsigned stream, const char *path)
{
	struct buf out = { 0 };

	http2_get(&out, stream, path);
	assert_true(client_send_bytes(fd, buf_slice(&out)));
	buf_finish(&out);
}

static void http2_opens_window(int fd, unsigned stream)
{
	struct buf out = { 0 };

	http2_frame(&out, 8, 0, stream, SLICE("\x10\0\0\0"));
	assert_true(client_send_bytes(fd, buf_slice(&out)));
	buf_finish(&out);
}

static void http2_gets_answers_in_frames(void **state)
{
	static const struct {
		const char *path, *body;
		unsigned how;
	} cases[] = {
		{ "/3/2/told", "aabbcc", DATA },
		{ "/3/2/open", "aabbcc", DATA },
		{ "/1/2/at_once", "aa", DATA },
		{ "/0/0/at_once", "", DATA },
		{ "/0/0/told", "", DATA },
		{ "/3/2/short", "aabbc", RST_STREAM },
		{ "/3/2/abort", "aabbcc", RST_STREAM },
	};
	struct faucet faucet;
	unsigned how;
	size_t size;
	int fd;

	faucet_open(&faucet, NULL);
	fd = http2_open(&faucet);
	for (unsigned i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		char *body;

		http2_ask(fd, 2 * i + 1, cases[i].path);
		body = stream_read(fd, 2 * i + 1, &size, &how);
		assert_string_equal(body, cases[i].body);
		assert_int_equal(how, cases[i].how);
		free(body);
	}
	assert_true(site_reaches(&faucet.site, 0, 1));
	close(fd);
	assert_true(site_reaches(&faucet.site, 0, 0));
	assert_int_equal(faucet.gone, 0);
	faucet_close(&faucet);
}

static void http2_waits_for_the_window(void **state)
{
	struct faucet faucet;
	char *body, *want = flow_text(40, 10000);
	unsigned how;
	size_t size;
	int fd;

	faucet_open(&faucet, NULL);
	fd = http2_open(&faucet);
	http2_ask(fd, 1, "/40/10000/told");
	wait_for(&faucet.pieces, 7); /* 65,535 bytes may be sent, of all and of each */
	http2_opens_window(fd, 0);
	http2_ask(fd, 3, "/0/0/at_once"); /* another is answered meanwhile */
	free(stream_read(fd, 3, &size, &how));
	assert_int_equal(how, DATA);
	assert_int_equal(faucet.pieces, 7);
	/* What was sent of the first has been passed over above. */
	http2_opens_window(fd, 1);
	body = stream_read(fd, 1, &size, &how);
	assert_int_equal(how, DATA);
	assert_int_equal(size, 400000 - 65535);
	assert_memory_equal(body, want + 65535, size);
	free(body);
	free(want);
	close(fd);
	faucet_close(&faucet);
}

static void a_stream_that_is_reset_is_gone(void **state)
{
	struct faucet faucet;
	struct buf out = { 0 };
	int fd;

	faucet_open(&faucet, NULL);
	fd = http2_open(&faucet);
	http2_ask(fd, 1, "/1/3/wait");
	http2_ask(fd, 3, "/1000/65536/told");
	wait_for(&faucet.pieces, 2);
	http2_reset(&out, 1);
	http2_reset(&out, 3);
	assert_true(client_send_bytes(fd, buf_slice(&out)));
	wait_for(&faucet.gone, 2);
	assert_true(site_reaches(&faucet.site, 0, 1));
	buf_finish(&out);
	close(fd);
	faucet_close(&faucet);
}

static void a_window_that_stays_shut_is_not_waited_for(void **state)
{
	struct http_server_config config = site_config(NULL, NULL);
	struct faucet faucet;
	struct buf out = { 0 };
	int fds[2];

	config.idle_timeout_ms = 100;
	faucet_open(&faucet, &config);
	fds[0] = http2_open(&faucet);
	http2_ask(fds[0], 1, "/1/3/wait"); /* is not why it is cut */
	http2_ask(fds[0], 3, "/1000/65536/told");
	wait_for(&faucet.gone, 2);
	assert_true(site_reaches(&faucet.site, 0, 0));
	/* Broken off with no room even for that. */
	fds[1] = http2_open(&faucet);
	http2_frame(&out, 4, 0, 0, SLICE("\0\4\0\0\0\0"));
	assert_true(client_send_bytes(fds[1], buf_slice(&out)));
	http2_ask(fds[1], 1, "/1/3/abort");
	wait_for(&faucet.gone, 3);
	assert_true(site_reaches(&faucet.site, 0, 0));
	buf_finish(&out);
	for (int i = 0; i < 2; i++)
		close(fds[i]);
	faucet_close(&faucet);
}

/* --- any order -------------------------------------------------------------------- */

static void any_clients_leave_nothing_behind(void **state)
{
	static const char *const modes[] = { "told",  "open", "short",
					     "abort", "wait", "at_once" };
	enum { CLIENTS = 12, ROUNDS = 400 };
	struct faucet faucet;
	int fds[CLIENTS];
	unsigned seed = 7;

	faucet_open(&faucet, NULL);
	memset(fds, -1, sizeof(fds));
	for (int round = 0; round < ROUNDS; round++) {
		int who = rand_r(&seed) % CLIENTS;
		const char *mode = modes[rand_r(&seed) % 6];
		unsigned count = (unsigned)rand_r(&seed) % (mode[0] == 'a' ? 2 : 30);
		unsigned size = 1 + (unsigned)rand_r(&seed) % 40000;
		char text[256], waste[70000];

		if (fds[who] < 0)
			fds[who] = client_connect(&faucet.site);
		snprintf(text, sizeof(text), "GET /%u/%u/%s HTTP/1.%d\r\nHost: a\r\n\r\n",
			 count, size, mode, rand_r(&seed) % 4 > 0);
		client_send(fds[who], text);
		if (rand_r(&seed) % 3)
			(void)!recv(fds[who], waste, sizeof(waste), MSG_DONTWAIT);
		if (rand_r(&seed) % 4 == 0) {
			if (rand_r(&seed) % 2)
				set_reset_on_close(fds[who]);
			close(fds[who]);
			fds[who] = -1;
		}
		if (rand_r(&seed) % 8 == 0)
			site_do(&faucet.site, faucet_let, &faucet);
	}
	for (int i = 0; i < CLIENTS; i++)
		if (fds[i] >= 0)
			close(fds[i]);
	assert_true(site_reaches(&faucet.site, 0, 0));
	faucet_close(&faucet);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(pieces_arrive_in_order_and_the_connection_is_kept),
		cmocka_unit_test(any_status_may_come_in_chunks),
		cmocka_unit_test(what_begins_and_ends_at_once_is_whole),
		cmocka_unit_test(
			http_1_0_gets_an_open_answer_until_the_connection_closes),
		cmocka_unit_test(an_answer_that_has_no_body_gets_none),
		cmocka_unit_test(a_length_that_is_not_reached_breaks_the_connection),
		cmocka_unit_test(an_answer_that_is_broken_off_has_no_last_chunk),
		cmocka_unit_test(http_1_0_sees_a_reset),
		cmocka_unit_test(a_slow_client_holds_one_piece),
		cmocka_unit_test(who_takes_nothing_is_cut_and_who_waits_is_not),
		cmocka_unit_test(a_client_that_leaves_is_noticed),
		cmocka_unit_test(an_answer_is_in_flight_until_its_end),
		cmocka_unit_test(a_draining_server_lets_an_answer_end),
		cmocka_unit_test(the_end_of_the_server_breaks_answers_off),
		cmocka_unit_test(http2_gets_answers_in_frames),
		cmocka_unit_test(http2_waits_for_the_window),
		cmocka_unit_test(a_stream_that_is_reset_is_gone),
		cmocka_unit_test(a_window_that_stays_shut_is_not_waited_for),
		cmocka_unit_test(any_clients_leave_nothing_behind),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
