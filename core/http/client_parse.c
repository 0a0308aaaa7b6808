/* SPDX-License-Identifier: MIT */
/* client_parse.c -- answers on top of picohttpparser, which libh2o exports without its
 * header. */
#include "http/client_parse.h"

#include "base/check.h"

#include <sys/types.h>

/* What a connection at rest may hold on to. */
#define KEPT_CAPACITY_MAX (16 * 1024)
/* Chunk extensions and trailers are thrown away; a server must not send them for ever. */
#define OVERHEAD_FREE (64 * 1024)
#define OVERHEAD_PER_BYTE 16

struct phr_header {
	const char *name;
	size_t name_len;
	const char *value;
	size_t value_len;
};
struct phr_chunked_decoder {
	size_t bytes_left_in_chunk;
	char consume_trailer;
	char _hex_count;
	char _state;
};
int phr_parse_response(const char *buf, size_t len, int *minor_version, int *status,
		       const char **msg, size_t *msg_len, struct phr_header *headers,
		       size_t *num_headers, size_t last_len);
ssize_t phr_decode_chunked(struct phr_chunked_decoder *decoder, char *buf, size_t *bufsz);

_Static_assert(sizeof(struct phr_chunked_decoder) ==
		       sizeof(((struct client_parse *)NULL)->chunks),
	       "client_parse.h mirrors the decoder");

static void buf_shrink(struct buf *buf)
{
	if (buf->capacity > KEPT_CAPACITY_MAX)
		buf_finish(buf);
	buf_reset(buf);
}

void client_parse_begin(struct client_parse *parse,
			const struct client_parse_rules *rules)
{
	struct buf head = parse->head, body = parse->body;

	buf_shrink(&head);
	buf_shrink(&body);
	/* The header table is written before it is read: it is not cleared. */
	memset(parse, 0, offsetof(struct client_parse, headers));
	parse->header_count = 0;
	parse->head = head;
	parse->body = body;
	parse->rules = *rules;
}

void client_parse_finish(struct client_parse *parse)
{
	buf_finish(&parse->head);
	buf_finish(&parse->body);
}

static enum client_parse_state fail(struct client_parse *parse, struct fault *why,
				    const char *what)
{
	parse->state = CLIENT_PARSE_failed;
	parse->keep_alive = false;
	fault_set(why, FAULT_broken, "the answer is broken: %s", what);
	return parse->state;
}

static enum client_parse_state finished(struct client_parse *parse)
{
	return parse->state = CLIENT_PARSE_done;
}

/* What the framing headers say. */
struct framing {
	bool has_length, chunked, close, keep_alive;
	uint64_t length;
};

static void read_connection(struct slice value, struct framing *framing)
{
	struct slice token;

	while (slice_cut(&value, ',', &token)) {
		token = slice_trim(token);
		if (slice_equal_nocase(token, SLICE("close")))
			framing->close = true;
		else if (slice_equal_nocase(token, SLICE("keep-alive")))
			framing->keep_alive = true;
	}
}

static const char *read_framing(const struct client_parse *parse, struct framing *framing)
{
	*framing = (struct framing){ 0 };
	for (size_t i = 0; i < parse->header_count; i++) {
		struct http_header header = parse->headers[i];
		unsigned long long length;

		if (slice_equal(header.name, SLICE("content-length"))) {
			if (!slice_to_uint(header.value, &length))
				return "Content-Length is not a number";
			if (framing->has_length && framing->length != length)
				return "two Content-Lengths differ";
			framing->has_length = true;
			framing->length = length;
		} else if (slice_equal(header.name, SLICE("transfer-encoding"))) {
			if (framing->chunked ||
			    !slice_equal_nocase(header.value, SLICE("chunked")))
				return "Transfer-Encoding is not chunked";
			framing->chunked = true;
		} else if (slice_equal(header.name, SLICE("connection"))) {
			read_connection(header.value, framing);
		}
	}
	if (framing->chunked && framing->has_length)
		return "Transfer-Encoding beside Content-Length";
	return NULL;
}

/* Chooses how the body ends. */
static enum client_parse_state begin_body(struct client_parse *parse, int minor_version,
					  struct fault *why)
{
	struct framing framing;
	const char *wrong = read_framing(parse, &framing);

	if (wrong)
		return fail(parse, why, wrong);
	if (framing.chunked && minor_version == 0)
		return fail(parse, why, "Transfer-Encoding in HTTP/1.0");
	parse->keep_alive = !framing.close && (minor_version > 0 || framing.keep_alive);
	if (parse->rules.head_request || parse->status == 204 || parse->status == 304)
		return finished(parse);
	if (framing.chunked) {
		parse->chunks.consume_trailer = 1;
		return parse->state = CLIENT_PARSE_chunked;
	}
	if (!framing.has_length) {
		parse->keep_alive = false;
		return parse->state = CLIENT_PARSE_until_close;
	}
	if (!parse->rules.stream && framing.length > parse->rules.size_max)
		return fail(parse, why, "its body is too large");
	parse->length = framing.length;
	return framing.length ? (parse->state = CLIENT_PARSE_length) : finished(parse);
}

/* Points the header table into head, names in lower case. False: a folded header. */
static bool keep_headers(struct client_parse *parse, const struct phr_header *headers,
			 size_t count)
{
	for (size_t i = 0; i < count; i++) {
		char *name;

		if (headers[i].name == NULL)
			return false;
		name = parse->head.at + (headers[i].name - parse->head.at);
		for (size_t j = 0; j < headers[i].name_len; j++)
			if (name[j] >= 'A' && name[j] <= 'Z')
				name[j] = (char)(name[j] + ('a' - 'A'));
		parse->headers[i].name = slice_of(name, headers[i].name_len);
		parse->headers[i].value =
			slice_trim(slice_of(headers[i].value, headers[i].value_len));
	}
	parse->header_count = count;
	return true;
}

/* Reads a head if all of it is there; *used says how long it was (0: not all there yet).
 */
static enum client_parse_state read_head(struct client_parse *parse, size_t *used,
					 struct fault *why)
{
	struct phr_header headers[CLIENT_PARSE_HEADERS_MAX];
	size_t count = CLIENT_PARSE_HEADERS_MAX, message_size;
	int minor_version, status, size;
	const char *message;

	*used = 0;
	/* phr looks only at whole heads once it has begun to wait. */
	if (memcmp(parse->head.at, "HTTP/1.",
		   parse->head.size < 7 ? parse->head.size : 7) != 0)
		return fail(parse, why, "its head is not HTTP/1");
	size = phr_parse_response(parse->head.at, parse->head.size, &minor_version,
				  &status, &message, &message_size, headers, &count,
				  parse->scanned);
	parse->scanned = parse->head.size;
	if (size == -2)
		return parse->state;
	if (size < 0)
		return fail(parse, why, "its head is not HTTP/1");
	*used = (size_t)size;
	if (status < 100 || status > 599)
		return fail(parse, why, "its status is out of range");
	if (status == 101 && (!parse->rules.upgrade || minor_version == 0))
		return fail(parse, why, "it switches protocols unasked");
	if (status < 200 && status != 101)
		return parse->state;
	if (!keep_headers(parse, headers, count))
		return fail(parse, why, "it folds a header");
	parse->status = status;
	if (status == 101)
		return parse->state = CLIENT_PARSE_switched;
	return begin_body(parse, minor_version, why);
}

/* Takes bytes that came behind each other as the body's. False: too many. */
static bool take(struct client_parse *parse, struct slice bytes)
{
	if (parse->rules.stream)
		parse->piece = bytes;
	else if (bytes.size > parse->rules.size_max - parse->body.size)
		return false;
	else
		buf_append(&parse->body, bytes);
	parse->received += bytes.size;
	return true;
}

static enum client_parse_state feed_chunks(struct client_parse *parse, struct slice bytes,
					   struct fault *why)
{
	struct phr_chunked_decoder decoder;
	size_t before = parse->body.size, size = bytes.size;
	ssize_t left;

	memcpy(&decoder, &parse->chunks, sizeof(decoder));
	memcpy(buf_reserve(&parse->body, bytes.size), bytes.at, bytes.size);
	left = phr_decode_chunked(&decoder, parse->body.at + before, &size);
	memcpy(&parse->chunks, &decoder, sizeof(decoder));
	if (left == -1)
		return fail(parse, why, "a chunk is malformed");
	if (!parse->rules.stream && size > parse->rules.size_max - before)
		return fail(parse, why, "its body is too large");
	parse->body.size = before + size;
	parse->received += size;
	parse->overhead += bytes.size - size;
	if (parse->overhead > OVERHEAD_FREE + OVERHEAD_PER_BYTE * parse->received)
		return fail(parse, why, "its chunks are more frame than content");
	if (parse->rules.stream)
		parse->piece = buf_slice(&parse->body);
	if (left == -2)
		return parse->state;
	if (left > 0)
		parse->keep_alive = false;
	return finished(parse);
}

static enum client_parse_state feed_body(struct client_parse *parse, struct slice bytes,
					 struct fault *why)
{
	if (parse->state == CLIENT_PARSE_switched) {
		parse->piece = bytes;
		return parse->state;
	}
	if (parse->state == CLIENT_PARSE_done) {
		/* Bytes nobody asked for: whose answer would they be? */
		parse->keep_alive = parse->keep_alive && bytes.size == 0;
		return parse->state;
	}
	if (bytes.size == 0 || parse->state == CLIENT_PARSE_failed)
		return parse->state;
	if (parse->state == CLIENT_PARSE_chunked)
		return feed_chunks(parse, bytes, why);
	if (parse->state == CLIENT_PARSE_length &&
	    bytes.size > parse->length - parse->received) {
		bytes.size = (size_t)(parse->length - parse->received);
		parse->keep_alive = false;
	}
	if (!take(parse, bytes))
		return fail(parse, why, "its body is too large");
	return parse->state == CLIENT_PARSE_length && parse->received == parse->length
		       ? finished(parse)
		       : parse->state;
}

/* Streamed or switched: what the last feed brought has been told. */
static void forget_piece(struct client_parse *parse)
{
	parse->piece = SLICE("");
	if (parse->rules.stream || parse->state == CLIENT_PARSE_switched)
		buf_reset(&parse->body);
}

void client_parse_hold(struct client_parse *parse)
{
	if (parse->piece.size == 0 || parse->piece.at == parse->body.at)
		return;
	buf_reset(&parse->body);
	buf_append(&parse->body, parse->piece);
	parse->piece = buf_slice(&parse->body);
}

enum client_parse_state client_parse_feed(struct client_parse *parse, struct slice bytes,
					  struct fault *why)
{
	parse->began = parse->began || bytes.size > 0;
	forget_piece(parse);
	if (parse->state != CLIENT_PARSE_head)
		return feed_body(parse, bytes, why);
	for (;;) {
		size_t before = parse->head.size, size_max, take, used;

		size_max = CLIENT_PARSE_HEAD_SIZE_MAX - parse->interim_size;
		take = bytes.size < size_max - before ? bytes.size : size_max - before;
		buf_append(&parse->head, slice_of(bytes.at, take));
		if (parse->head.size == 0)
			return parse->state;
		if (read_head(parse, &used, why) == CLIENT_PARSE_failed)
			return parse->state;
		if (used == 0) {
			if (parse->head.size == size_max)
				return fail(parse, why, "its head is too large");
			return parse->state;
		}
		/* used is beyond before: what was there before held no whole head. */
		bytes = slice_of(bytes.at + (used - before),
				 bytes.size - (used - before));
		parse->head.size = used;
		if (parse->state != CLIENT_PARSE_head)
			return feed_body(parse, bytes, why);
		parse->interim_size += used;
		parse->scanned = 0;
		buf_reset(&parse->head);
		if (parse->interim_size == CLIENT_PARSE_HEAD_SIZE_MAX)
			return fail(parse, why, "it has too many interim answers");
	}
}

enum client_parse_state client_parse_close(struct client_parse *parse, struct fault *why)
{
	forget_piece(parse);
	if (parse->state >= CLIENT_PARSE_done)
		return parse->state;
	if (parse->state == CLIENT_PARSE_until_close)
		return finished(parse);
	if (!parse->began)
		return fail(parse, why, "closed without an answer");
	return fail(parse, why, "closed in the middle");
}

void client_parse_check(const struct client_parse *parse)
{
	check(parse->head.size + parse->interim_size <= CLIENT_PARSE_HEAD_SIZE_MAX);
	check(parse->header_count <= CLIENT_PARSE_HEADERS_MAX);
	if (parse->rules.stream) {
		check(parse->piece.size <= parse->received ||
		      parse->state == CLIENT_PARSE_switched);
	} else {
		check(parse->body.size <= parse->rules.size_max);
		check(parse->piece.size == 0 || parse->state == CLIENT_PARSE_switched);
		check(parse->received == parse->body.size ||
		      parse->state == CLIENT_PARSE_failed);
	}
	if (parse->state == CLIENT_PARSE_head)
		check(parse->header_count == 0 && parse->received == 0);
	if (parse->state == CLIENT_PARSE_length)
		check(parse->received < parse->length);
	if (parse->state == CLIENT_PARSE_switched)
		check(parse->rules.upgrade && parse->status == 101);
	if (parse->state == CLIENT_PARSE_failed)
		check(!parse->keep_alive);
}
