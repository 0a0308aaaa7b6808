/* SPDX-License-Identifier: MIT */
/* response_fuzz.c -- bytes of an upstream, cut anywhere, against the reader of answers.
 *
 * The first byte says how the rest is cut and whether the request was HEAD. Whole or in
 * pieces, gathered or streamed, the outcome must be the same.
 */
#include "base/check.h"
#include "http/client_parse.h"

#include <stdint.h>

#define BODY_SIZE_MAX 65536

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* streamed: what each piece gave; NULL: the body is gathered. */
static void feed(struct client_parse *parse, struct slice text, bool head_request,
		 size_t piece, struct buf *streamed)
{
	struct client_parse_rules rules = { .head_request = head_request,
					    .stream = streamed != NULL,
					    .upgrade = streamed != NULL,
					    .size_max = BODY_SIZE_MAX };
	struct fault why;

	client_parse_begin(parse, &rules);
	while (text.size > 0 && (parse->state < CLIENT_PARSE_done ||
				 parse->state == CLIENT_PARSE_switched)) {
		size_t now = text.size < piece ? text.size : piece;

		client_parse_feed(parse, slice_of(text.at, now), &why);
		client_parse_check(parse);
		if (streamed)
			buf_append(streamed, parse->piece);
		text.at += now;
		text.size -= now;
	}
	client_parse_close(parse, &why);
	client_parse_check(parse);
	check(parse->state >= CLIENT_PARSE_done);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct client_parse whole = { 0 }, cut = { 0 }, streamed = { 0 }, both = { 0 };
	struct buf one = { 0 }, two = { 0 };
	size_t piece;
	struct slice text;

	if (size < 1)
		return 0;
	text = slice_of((const char *)data + 1, size - 1);
	piece = 1 + data[0] / 2;
	feed(&whole, text, data[0] & 1, SIZE_MAX, NULL);
	feed(&cut, text, data[0] & 1, piece, NULL);
	feed(&streamed, text, data[0] & 1, SIZE_MAX, &one);
	feed(&both, text, data[0] & 1, piece, &two);
	check(whole.state == cut.state);
	if (whole.state == CLIENT_PARSE_done) {
		check(whole.status == cut.status &&
		      whole.header_count == cut.header_count);
		check(slice_equal(buf_slice(&whole.body), buf_slice(&cut.body)));
		check(streamed.state == CLIENT_PARSE_done);
		check(slice_equal(buf_slice(&whole.body), buf_slice(&one)));
	}
	check(streamed.state == both.state);
	if (streamed.state != CLIENT_PARSE_failed)
		check(slice_equal(buf_slice(&one), buf_slice(&two)));
	buf_finish(&one);
	buf_finish(&two);
	client_parse_finish(&whole);
	client_parse_finish(&cut);
	client_parse_finish(&streamed);
	client_parse_finish(&both);
	return 0;
}
