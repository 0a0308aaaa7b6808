/* SPDX-License-Identifier: MIT */
#include "base/check.h"
#include "base/random.h"
#include "http/client_parse.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>

#define SIZE_MAX_HERE 4096

enum flags { PLAIN, HEAD_REQUEST = 1, CLOSES = 2, UPGRADE = 4 };

/* Feeds text in pieces of `piece` bytes; with CLOSES the other side closes behind it. */
static enum client_parse_state run(struct client_parse *parse, const char *text,
				   size_t size, size_t piece, unsigned flags,
				   struct fault *why)
{
	size_t at = 0;
	struct client_parse_rules rules = { .head_request = flags & HEAD_REQUEST,
					    .size_max = SIZE_MAX_HERE };

	client_parse_begin(parse, &rules);
	while (at < size && parse->state != CLIENT_PARSE_failed) {
		size_t now = size - at < piece ? size - at : piece;

		client_parse_feed(parse, slice_of(text + at, now), why);
		client_parse_check(parse);
		at += now;
	}
	if (flags & CLOSES) {
		client_parse_close(parse, why);
		client_parse_check(parse);
	}
	return parse->state;
}

struct good {
	const char *text;
	unsigned flags;
	int status;
	const char *body;
	bool keep_alive;
};

static void well_framed_answers_are_read_however_they_are_cut(void **state)
{
	static const struct good cases[] = {
		{ "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", 0, 200, "hello",
		  true },
		{ "HTTP/1.1 200 \r\nContent-Length: 0\r\n\r\n", 0, 200, "", true },
		{ "HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\nx", 0, 200, "x", false },
		{ "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: "
		  "1\r\n\r\nx",
		  0, 200, "x", true },
		{ "HTTP/1.1 200 OK\r\nConnection: foo, Close\r\nContent-Length: "
		  "1\r\n\r\nx",
		  0, 200, "x", false },
		{ "HTTP/1.1 200 OK\r\nContent-Length: 1\r\ncontent-length: 1\r\n\r\nx", 0,
		  200, "x", true },
		{ "HTTP/1.1 200 OK\r\n\r\nuntil the end", CLOSES, 200, "until the end",
		  false },
		{ "HTTP/1.1 204 No Content\r\n\r\n", 0, 204, "", true },
		{ "HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n", 0, 304, "",
		  true },
		{ "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n", HEAD_REQUEST, 200, "",
		  true },
		{ "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", HEAD_REQUEST,
		  200, "", true },
		{ "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
		  "3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n",
		  0, 200, "abcde", true },
		{ "HTTP/1.1 200 OK\r\nTransfer-Encoding: CHUNKED\r\n\r\n"
		  "1\r\nx\r\n0\r\nTrailer: y\r\n\r\n",
		  0, 200, "x", true },
		{ "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early\r\nLink: x\r\n\r\n"
		  "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
		  0, 200, "ok", true },
		{ "HTTP/1.1 500 No\r\nContent-Length: 2\r\n\r\nnotmore", 0, 500, "no",
		  false },
	};
	struct client_parse parse = { 0 };

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		for (size_t piece = 1; piece < 80; piece += 1 + piece / 4) {
			struct fault why;

			if (run(&parse, cases[i].text, strlen(cases[i].text), piece,
				cases[i].flags, &why) != CLIENT_PARSE_done)
				fail_msg("not taken: %s", cases[i].text);
			assert_int_equal(parse.status, cases[i].status);
			assert_true(slice_equal(buf_slice(&parse.body),
						slice_text(cases[i].body)));
			assert_int_equal(parse.keep_alive, cases[i].keep_alive);
		}
	client_parse_finish(&parse);
}

static void broken_answers_fail_however_they_are_cut(void **state)
{
	static const struct {
		const char *text;
		unsigned flags;
	} cases[] = {
		{ "", CLOSES },
		{ "HTTP/1.1 200 OK\r\nContent-Le", CLOSES },
		{ "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhell", CLOSES },
		{ "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nab",
		  CLOSES },
		{ "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
		  CLOSES },
		{ "SSH-2.0-OpenSSH\r\n", 0 },
		{ "\x16\x03\x01\x02\x00\x01\x00\x01", 0 },
		{ "HTTP/2.0 200 OK\r\n\r\n", 0 },
		{ "HTTP/1.1 abc OK\r\n\r\n", 0 },
		{ "HTTP/1.1 099 OK\r\n\r\n", 0 },
		{ "HTTP/1.1 700 OK\r\n\r\n", 0 },
		{ "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n", 0 },
		{ "HTTP/1.1 200 OK\r\nContent-Length: abc\r\n\r\n", 0 },
		{ "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", 0 },
		{ "HTTP/1.1 200 OK\r\nContent-Length: 1 2\r\n\r\n", 0 },
		{ "HTTP/1.1 200 OK\r\nContent-Length:\r\n\r\n", 0 },
		{ "HTTP/1.1 200 OK\r\nContent-Length: 5, 5\r\n\r\nhello", 0 },
		{ "HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999999\r\n\r\n",
		  0 },
		{ "HTTP/1.1 200 OK\r\nContent-Length: 18446744073709551615\r\n\r\n", 0 },
		{ "HTTP/1.1 200 OK\r\nContent-Length: 4097\r\n\r\n", 0 },
		{ "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx",
		  0 },
		{ "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n", 0 },
		{ "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
		  0 },
		{ "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n"
		  "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		  0 },
		{ "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 0 },
		{ "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: "
		  "1\r\n\r\n",
		  0 },
		{ "HTTP/1.1 204 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: "
		  "1\r\n\r\n",
		  0 },
		{ "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n", 0 },
		{ "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-3\r\nabc\r\n",
		  0 },
		{ "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcdef", 0 },
		{ "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
		  "fffffffffffffffff\r\n",
		  0 },
		{ "HTTP/1.1 200 OK\r\nA: b\r\n folded\r\nContent-Length: 0\r\n\r\n", 0 },
		{ "HTTP/1.1 200 OK\r\n: b\r\n\r\n", 0 },
	};
	struct client_parse parse = { 0 };

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		for (size_t piece = 1; piece < 80; piece += 1 + piece / 4) {
			struct fault why = { 0 };

			if (run(&parse, cases[i].text, strlen(cases[i].text), piece,
				cases[i].flags, &why) != CLIENT_PARSE_failed)
				fail_msg("taken: %s", cases[i].text);
			assert_int_equal(why.kind, FAULT_broken);
			assert_false(parse.keep_alive);
		}
	client_parse_finish(&parse);
}

static void header_names_come_in_lower_case_and_values_trimmed(void **state)
{
	static const char text[] = "HTTP/1.1 201 Made\r\nLocation: /x \r\nX-Y:\tz\r\n"
				   "Content-Length: 0\r\n\r\n";
	struct client_parse parse = { 0 };
	struct fault why;

	assert_int_equal(run(&parse, text, sizeof(text) - 1, 7, 0, &why),
			 CLIENT_PARSE_done);
	assert_int_equal(parse.header_count, 3);
	assert_true(slice_equal(parse.headers[0].name, SLICE("location")));
	assert_true(slice_equal(parse.headers[0].value, SLICE("/x")));
	assert_true(slice_equal(parse.headers[1].name, SLICE("x-y")));
	assert_true(slice_equal(parse.headers[1].value, SLICE("z")));
	client_parse_finish(&parse);
}

/* Feeds `text` again and again; gives how many bytes went in before it failed. */
static size_t endless(struct client_parse *parse, const char *start, const char *text)
{
	size_t size = strlen(start);
	struct fault why;

	client_parse_begin(parse,
			   &(struct client_parse_rules){ .size_max = SIZE_MAX_HERE });
	client_parse_feed(parse, slice_text(start), &why);
	while (size < 10 * 1024 * 1024 &&
	       client_parse_feed(parse, slice_text(text), &why) != CLIENT_PARSE_failed) {
		client_parse_check(parse);
		size += strlen(text);
	}
	assert_int_equal(parse->state, CLIENT_PARSE_failed);
	return size;
}

static void nothing_endless_is_read_for_ever(void **state)
{
	struct client_parse parse = { 0 };
	static const char chunked[] =
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";

	assert_true(endless(&parse, "HTTP/1.1 200 OK\r\nX: ", "yyyyyyyyyyyyyyyy") <
		    100000);
	assert_true(endless(&parse, "HTTP/1.1 200 OK\r\n", "x: y\r\n") < 100000);
	assert_true(endless(&parse, "", "HTTP/1.1 100 Continue\r\n\r\n") < 100000);
	assert_true(endless(&parse, "HTTP/1.1 200 OK\r\n\r\n", "body") < 100000);
	assert_true(endless(&parse, chunked, "4\r\nbody\r\n") < 100000);
	assert_true(endless(&parse, chunked, "1;extension=\"long\"\r\nx\r\n") < 1000000);
	endless(&parse, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;",
		"xxxxxxxx");
	endless(&parse, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n",
		"a: b\r\n");
	client_parse_finish(&parse);
}

/* --- streamed --------------------------------------------------------------------- */

/* Feeds text in pieces and joins what each gives; what is fed is overwritten. */
static enum client_parse_state run_streamed(struct client_parse *parse, const char *text,
					    size_t size, size_t piece, unsigned flags,
					    struct buf *joined)
{
	struct client_parse_rules rules = { .head_request = flags & HEAD_REQUEST,
					    .stream = true,
					    .upgrade = flags & UPGRADE };
	struct fault why;

	buf_reset(joined);
	client_parse_begin(parse, &rules);
	for (size_t at = 0; at < size && parse->state != CLIENT_PARSE_failed;) {
		size_t now = size - at < piece ? size - at : piece;
		char *bytes = mem_copy(text + at, now);

		client_parse_feed(parse, slice_of(bytes, now), &why);
		client_parse_check(parse);
		if (at % 3 == 0) {
			client_parse_hold(parse);
			memset(bytes, '!', now);
			client_parse_check(parse);
		}
		assert_true(parse->piece.size <= now);
		buf_append(joined, parse->piece);
		free(bytes);
		at += now;
	}
	if (flags & CLOSES) {
		client_parse_close(parse, &why);
		client_parse_check(parse);
		assert_int_equal(parse->piece.size, 0);
	}
	return parse->state;
}

static void pieces_of_a_streamed_answer_join_to_the_same_body(void **state)
{
	static const struct good cases[] = {
		{ "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", 0, 200, "hello",
		  true },
		{ "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", 0, 200, "", true },
		{ "HTTP/1.1 200 OK\r\n\r\nuntil the end", CLOSES, 200, "until the end",
		  false },
		{ "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n", HEAD_REQUEST, 200, "",
		  true },
		{ "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
		  "3\r\nabc\r\n2;x=y\r\nde\r\n0\r\nTrailer: z\r\n\r\n",
		  0, 200, "abcde", true },
		{ "HTTP/1.1 103 Early\r\n\r\nHTTP/1.1 200 OK\r\n"
		  "Content-Length: 2\r\n\r\nokmore",
		  0, 200, "ok", false },
		{ "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 101 Switching\r\n"
		  "Upgrade: x\r\n\r\nanything at all",
		  UPGRADE, 101, "anything at all", false },
		{ "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", UPGRADE, 200, "ok",
		  true },
	};
	struct client_parse parse = { 0 };
	struct buf joined = { 0 };

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		for (size_t piece = 1; piece < 200; piece++) {
			enum client_parse_state end =
				run_streamed(&parse, cases[i].text, strlen(cases[i].text),
					     piece, cases[i].flags, &joined);

			assert_int_equal(end, cases[i].status == 101
						      ? CLIENT_PARSE_switched
						      : CLIENT_PARSE_done);
			assert_int_equal(parse.status, cases[i].status);
			assert_int_equal(parse.keep_alive, cases[i].keep_alive);
			if (!slice_equal(buf_slice(&joined), slice_text(cases[i].body)))
				fail_msg("%zu: %s", piece, cases[i].text);
		}
	buf_finish(&joined);
	client_parse_finish(&parse);
}

static void a_switch_that_was_not_asked_for_is_broken(void **state)
{
	static const char *const texts[] = {
		"HTTP/1.1 101 Switching\r\nUpgrade: x\r\n\r\nx",
		"HTTP/1.0 101 Switching\r\nUpgrade: x\r\n\r\nx",
	};
	struct client_parse parse = { 0 };
	struct buf joined = { 0 };

	assert_int_equal(run_streamed(&parse, texts[0], strlen(texts[0]), 9, 0, &joined),
			 CLIENT_PARSE_failed);
	assert_int_equal(
		run_streamed(&parse, texts[1], strlen(texts[1]), 9, UPGRADE, &joined),
		CLIENT_PARSE_failed);
	buf_finish(&joined);
	client_parse_finish(&parse);
}

static void a_streamed_body_of_any_length_takes_no_memory(void **state)
{
	static const char *const heads[] = {
		"HTTP/1.1 200 OK\r\n\r\n",
		"HTTP/1.1 200 OK\r\nContent-Length: 9999999999999\r\n\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
	};
	struct client_parse_rules rules = { .stream = true };
	struct client_parse parse = { 0 };
	struct fault why;
	char bytes[4096];

	for (size_t i = 0; i < 3; i++) {
		uint64_t received = 0;

		memset(bytes, 'x', sizeof(bytes));
		client_parse_begin(&parse, &rules);
		client_parse_feed(&parse, slice_text(heads[i]), &why);
		for (int j = 0; j < 20000; j++) {
			if (i == 2) {
				memcpy(bytes, "ff9\r\n", 5);
				memcpy(bytes + 4094, "\r\n", 2);
			}
			client_parse_feed(&parse, slice_of(bytes, sizeof(bytes)), &why);
			client_parse_check(&parse);
			received += parse.piece.size;
		}
		assert_true(parse.state > CLIENT_PARSE_head &&
			    parse.state < CLIENT_PARSE_done);
		assert_true(received == parse.received);
		assert_true(received == 20000u * (i == 2 ? 4089u : 4096u));
		assert_true(parse.body.capacity <= 3 * sizeof(bytes));
	}
	client_parse_finish(&parse);
}

static void a_streamed_body_may_not_be_more_frame_than_content(void **state)
{
	struct client_parse_rules rules = { .stream = true };
	struct client_parse parse = { 0 };
	struct fault why;
	int i = 0;

	client_parse_begin(&parse, &rules);
	client_parse_feed(&parse,
			  SLICE("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"),
			  &why);
	for (; i < 100000 && parse.state != CLIENT_PARSE_failed; i++)
		client_parse_feed(&parse, SLICE("1;extension=\"long\"\r\nx\r\n"), &why);
	assert_true(i < 100000);
	client_parse_finish(&parse);
}

/* --- random ----------------------------------------------------------------------- */

static void mutated_answers_never_break_the_reader(void **state)
{
	static const char *const seeds[] = {
		"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: "
		"chunked\r\n\r\n3\r\nabc\r\n0\r\nT: x\r\n\r\n",
		"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 404 No\r\nContent-Length: "
		"0\r\n\r\n",
	};
	static const char spice[] = "\r\n:;, 0123456789abcdefHT\x00\xff\x80";
	struct client_parse parse = { 0 };
	struct random random;
	unsigned done = 0, failed = 0;
	struct buf joined = { 0 };

	random_init(&random, 7);
	for (int round = 0; round < 60000; round++) {
		const char *seed = seeds[random_below(&random, 3)];
		size_t size = strlen(seed);
		char text[256];
		struct fault why = { 0 };
		struct client_parse streamed = { 0 };
		unsigned flags = (unsigned)random_below(&random, 2) | CLOSES;

		memcpy(text, seed, size);
		for (uint64_t i = random_below(&random, 4); i > 0; i--) {
			size_t at = random_below(&random, size);

			if (random_below(&random, 3) > 0)
				text[at] =
					spice[random_below(&random, sizeof(spice) - 1)];
			else
				memmove(text + at, text + at + 1, --size - at);
		}
		run(&parse, text, size, 1 + random_below(&random, 64), flags, &why);
		run_streamed(&streamed, text, size, 1 + random_below(&random, 64), flags,
			     &joined);
		/* What may be gathered may be streamed, and is the same. */
		if (parse.state == CLIENT_PARSE_done) {
			assert_int_equal(streamed.state, CLIENT_PARSE_done);
			assert_int_equal(streamed.keep_alive, parse.keep_alive);
			assert_true(
				slice_equal(buf_slice(&joined), buf_slice(&parse.body)));
		}
		client_parse_finish(&streamed);
		done += parse.state == CLIENT_PARSE_done;
		failed += parse.state == CLIENT_PARSE_failed;
	}
	assert_true(done > 1000 && failed > 1000);
	assert_int_equal(done + failed, 60000);
	buf_finish(&joined);
	client_parse_finish(&parse);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(well_framed_answers_are_read_however_they_are_cut),
		cmocka_unit_test(broken_answers_fail_however_they_are_cut),
		cmocka_unit_test(header_names_come_in_lower_case_and_values_trimmed),
		cmocka_unit_test(nothing_endless_is_read_for_ever),
		cmocka_unit_test(pieces_of_a_streamed_answer_join_to_the_same_body),
		cmocka_unit_test(a_switch_that_was_not_asked_for_is_broken),
		cmocka_unit_test(a_streamed_body_of_any_length_takes_no_memory),
		cmocka_unit_test(a_streamed_body_may_not_be_more_frame_than_content),
		cmocka_unit_test(mutated_answers_never_break_the_reader),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
