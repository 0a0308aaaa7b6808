/* SPDX-License-Identifier: MIT */
/* response_fuzz.c -- bytes of an upstream, cut anywhere, against the reader of answers.
 *
 * The first byte says how the rest is cut and whether the request was HEAD. Whole or in
 * pieces the outcome must be the same.
 */
#include "base/check.h"
#include "http/client_parse.h"

#include <stdint.h>

#define BODY_SIZE_MAX 65536

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void feed(struct client_parse *parse, struct slice text, bool head_request,
		 size_t piece)
{
	struct fault why;

	client_parse_begin(parse, head_request, BODY_SIZE_MAX);
	while (text.size > 0 && parse->state < CLIENT_PARSE_done) {
		size_t now = text.size < piece ? text.size : piece;

		client_parse_feed(parse, slice_of(text.at, now), &why);
		client_parse_check(parse);
		text.at += now;
		text.size -= now;
	}
	client_parse_close(parse, &why);
	client_parse_check(parse);
	check(parse->state == CLIENT_PARSE_done || parse->state == CLIENT_PARSE_failed);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct client_parse whole = { 0 }, cut = { 0 };
	struct slice text;

	if (size < 1)
		return 0;
	text = slice_of((const char *)data + 1, size - 1);
	feed(&whole, text, data[0] & 1, SIZE_MAX);
	feed(&cut, text, data[0] & 1, 1 + data[0] / 2);
	check(whole.state == cut.state);
	if (whole.state == CLIENT_PARSE_done) {
		check(whole.status == cut.status &&
		      whole.header_count == cut.header_count);
		check(slice_equal(buf_slice(&whole.body), buf_slice(&cut.body)));
	}
	client_parse_finish(&whole);
	client_parse_finish(&cut);
	return 0;
}
