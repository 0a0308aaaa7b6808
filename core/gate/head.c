/* SPDX-License-Identifier: MIT */
/* head.c -- headers on their way through the gate. Hot path: part of forward.c's budget.
 *
 * What goes out is written anew, line by line, and every line is checked: HTTP/2 lets
 * bytes through that would end a line of HTTP/1. What belongs to one connection stays
 * behind (RFC 9110, 7.6.1), with what Connection names; the lines that say where a
 * request is to go, where it ends and who sent it are the gate's own, so no name in
 * Connection takes them away, and no other spelling ('_' for '-') stands beside them. A
 * head that is more than services take is refused here: 431.
 */
#include "gate/passage.h"

#include "base/hex.h"
#include "base/number.h"
#include "http/client_request.h"
#include "watch/trace.h"

#include <stdio.h>

#define VIA "1.1 orrery"
#define NAME_SIZE 128 /* longer ones are neither the gate's nor `before`'s */

static inline bool is_visible(struct slice text)
{
	unsigned bad = 0;

	for (size_t i = 0; i < text.size; i++) {
		unsigned char c = (unsigned char)text.at[i];

		bad |= (c <= 0x20) | (c == 0x7f);
	}
	return !bad;
}

static inline void line(struct buf *out, struct slice name, struct slice value)
{
	char *to = buf_reserve(out, name.size + value.size + 4);

	memcpy(to, name.at, name.size);
	to += name.size;
	*to++ = ':';
	*to++ = ' ';
	if (value.size)
		memcpy(to, value.at, value.size);
	to += value.size;
	*to++ = '\r';
	*to = '\n';
	out->size += name.size + value.size + 4;
}

/* --- which headers go on ---------------------------------------------------------- */

enum fate {
	FATE_keep,
	FATE_drop, /* of one connection, or the gate's own */
	FATE_join /* several become one line */
};

/* Of a request; name in lower case. */
static enum fate fate_of(struct slice name)
{
#define IS(text) (memcmp(name.at, text, sizeof(text) - 1) == 0)
	switch (name.size) {
	case 2:
		return IS("te") ? FATE_drop : FATE_keep;
	case 3:
		return IS("via") ? FATE_join : FATE_keep;
	case 4:
		return IS("host") ? FATE_drop : FATE_keep;
	case 5:
		return IS("proxy") ? FATE_drop : FATE_keep;
	case 6:
		return IS("cookie") ? FATE_join : IS("expect") ? FATE_drop : FATE_keep;
	case 7:
		return IS("trailer") || IS("upgrade") ? FATE_drop : FATE_keep;
	case 9:
		return IS("forwarded") || IS("x-real-ip") ? FATE_drop : FATE_keep;
	case 10:
		return IS("connection") || IS("keep-alive") || IS("tracestate")
			       ? FATE_drop
			       : FATE_keep;
	case 11:
		return IS("traceparent") ? FATE_drop : FATE_keep;
	case 12:
		return IS("x-request-id") ? FATE_drop : FATE_keep;
	case 14:
		return IS("content-length") || IS("http2-settings") ? FATE_drop
								    : FATE_keep;
	default:
		break;
	}
	return name.size > 12 && (IS("x-forwarded-") || IS("x-envoy-") ||
				  slice_equal(name, SLICE("transfer-encoding")) ||
				  slice_equal(name, SLICE("proxy-connection")) ||
				  slice_equal(name, SLICE("proxy-authorization")))
		       ? FATE_drop
		       : FATE_keep;
#undef IS
}

bool head_is_named(struct slice list, struct slice name)
{
	struct slice part;

	while (list.size && slice_cut(&list, ',', &part))
		if (slice_equal_nocase(slice_trim(part), name))
			return true;
	return false;
}

bool head_names_nothing(struct slice value)
{
	return slice_equal_nocase(value, SLICE("keep-alive")) ||
	       slice_equal_nocase(value, SLICE("close")) ||
	       slice_equal_nocase(value, SLICE("upgrade"));
}

/* All that Connection says, in scratch. */
static struct slice names_of_connection(struct http_request *request, struct buf *scratch)
{
	size_t count = http_request_header_count(request);

	buf_reset(scratch);
	for (size_t i = 0; i < count; i++) {
		struct http_header header = http_request_header_at(request, i);

		if (header.name.size != 10 ||
		    !slice_equal(header.name, SLICE("connection")) ||
		    head_names_nothing(header.value))
			continue;
		buf_append(scratch, header.value);
		buf_append_byte(scratch, ',');
		if (scratch->size > GATE_NAMED_MAX)
			break;
	}
	return buf_slice(scratch);
}

/* The name as those read it who make variables of headers: '_' and '-' are one. */
static inline struct slice read_name(struct slice name, char room[NAME_SIZE])
{
	if (__builtin_expect(!memchr(name.at, '_', name.size), 1) ||
	    name.size > NAME_SIZE)
		return name;
	for (size_t i = 0; i < name.size; i++)
		room[i] = name.at[i] == '_' ? '-' : name.at[i];
	return slice_of(room, name.size);
}

struct slice head_find(const struct http_header *headers, size_t count, struct slice name)
{
	for (size_t i = 0; i < count; i++)
		if (headers[i].name.size == name.size &&
		    slice_equal_nocase(headers[i].name, name))
			return headers[i].value;
	return slice_of(NULL, 0);
}

/* --- to the upstream -------------------------------------------------------------- */

static bool bad_request(struct fault *why, const char *what)
{
	return fault_set_status(why, FAULT_bad_input, 400, "%s has a bad character",
				what);
}

static bool too_large(struct fault *why, const char *what)
{
	return fault_set_status(why, FAULT_bad_input, 431, "%s", what);
}

/* The path in its normal form, rewritten. */
static void write_path(struct passage *passage)
{
	const struct gate_route *route = passage->route;
	struct slice rest = passage->path, rewrite = route->rewrite;
	struct buf *out = &passage->head;

	passage->target_at = out->size;
	if (rewrite.at) {
		size_t cut = route->prefix.size == 1 ? 0 : route->prefix.size;

		rest = slice_of(rest.at + cut, rest.size - cut);
		if (rest.size && slice_ends_with(rewrite, SLICE("/")))
			rewrite.size--;
		buf_append(out, rewrite);
	}
	buf_append(out, rest);
	passage->target_size = out->size - passage->target_at;
}

static bool write_request_line(struct passage *passage, struct fault *why)
{
	struct slice method = http_request_method(passage->request);
	struct slice query = http_request_query(passage->request);
	struct buf *out = &passage->head;

	if (!client_request_token_good(method))
		return bad_request(why, "the method");
	if (!is_visible(query))
		return bad_request(why, "the query");
	buf_append(out, method);
	buf_append_byte(out, ' ');
	write_path(passage);
	if (query.size) {
		buf_append_byte(out, '?');
		buf_append(out, query);
	}
	buf_append(out, SLICE(" HTTP/1.1\r\n"));
	return true;
}

static bool write_host(struct passage *passage, struct fault *why)
{
	struct slice host = http_request_authority(passage->request);

	for (size_t i = 0; i < host.size; i++)
		if (host.at[i] <= 0x20 || host.at[i] >= 0x7f ||
		    strchr("/?#@\\,\"<>", host.at[i]))
			return bad_request(why, "Host");
	if (host.size == 0)
		host = passage->plan->upstreams[passage->route->upstream].name;
	line(&passage->head, SLICE("host"), host);
	return true;
}

/* All headers of this name as one line, with own, which may be empty, behind them. */
static bool write_joined(struct passage *passage, struct slice name,
			 struct slice separator, struct slice own)
{
	size_t count = http_request_header_count(passage->request);
	struct buf *out = &passage->head;
	bool any = false;

	buf_append(out, name);
	buf_append(out, SLICE(": "));
	for (size_t i = 0; i < count; i++) {
		struct http_header header = http_request_header_at(passage->request, i);

		if (!slice_equal(header.name, name))
			continue;
		if (!client_request_value_good(header.value))
			return false;
		if (any)
			buf_append(out, separator);
		buf_append(out, header.value);
		any = true;
	}
	if (any && own.size)
		buf_append(out, separator);
	buf_append(out, own);
	buf_append(out, SLICE("\r\n"));
	return true;
}

/* Those of the client that go on, but for what `before` sets. */
static bool write_client_headers(struct passage *passage, const struct http_header *set,
				 size_t set_count, struct fault *why)
{
	struct slice named =
		names_of_connection(passage->request, &passage->gate->scratch);
	size_t count = http_request_header_count(passage->request), kept = set_count;
	bool via = false, cookie = false;
	char room[NAME_SIZE];

	if (named.size > GATE_NAMED_MAX)
		return too_large(why, "Connection names too many headers");
	for (size_t i = 0; i < count; i++) {
		struct http_header header = http_request_header_at(passage->request, i);
		struct slice name = read_name(header.name, room);
		enum fate fate = fate_of(name);

		if (fate == FATE_drop || head_is_named(named, header.name) ||
		    (set_count && head_find(set, set_count, name).at))
			continue;
		if (fate == FATE_join) {
			via = via || header.name.size == 3;
			cookie = cookie || header.name.size == 6;
			continue;
		}
		if (++kept > GATE_LINES_MAX)
			return too_large(why, "there are too many headers");
		if (!client_request_token_good(header.name) ||
		    !client_request_value_good(header.value))
			return bad_request(why, "a header");
		line(&passage->head, header.name, header.value);
	}
	if (via && !write_joined(passage, SLICE("via"), SLICE(", "), SLICE(VIA)))
		return bad_request(why, "Via");
	if (!via)
		line(&passage->head, SLICE("via"), SLICE(VIA));
	/* HTTP/2 may cut it into crumbs (RFC 9113, 8.2.3). */
	if (cookie && !write_joined(passage, SLICE("cookie"), SLICE("; "), SLICE("")))
		return bad_request(why, "Cookie");
	return true;
}

static bool write_set_headers(struct passage *passage, const struct http_header *set,
			      size_t count, struct fault *why)
{
	struct buf *out = &passage->head;

	for (size_t i = 0; i < count; i++) {
		size_t at = out->size;

		if (!client_request_token_good(set[i].name) ||
		    !client_request_value_good(set[i].value))
			return fault_set(
				why, FAULT_internal,
				"header %zu that before sets has a bad character", i + 1);
		line(out, set[i].name, set[i].value);
		for (size_t k = 0; k < set[i].name.size; k++)
			if (out->at[at + k] >= 'A' && out->at[at + k] <= 'Z')
				out->at[at + k] |= 0x20;
		if (fate_of(slice_of(out->at + at, set[i].name.size)) == FATE_drop)
			out->size = at;
	}
	return true;
}

/* What a trusted proxy said, or what is so. */
static struct slice told(const struct passage *passage, bool trusted, struct slice name,
			 struct slice own)
{
	struct slice value = { 0 };

	if (trusted)
		value = http_request_header(passage->request, name);
	return value.size && is_visible(value) ? value : own;
}

static void write_forwarded(struct passage *passage)
{
	struct http_request *request = passage->request;
	struct slice client = slice_of(passage->client, passage->client_size);
	/* Only a trusted proxy can speak for somebody else. */
	bool trusted = !slice_equal(client, http_request_peer(request));
	struct slice scheme = http_request_scheme(request), proto, host;

	proto = told(passage, trusted, SLICE("x-forwarded-proto"), scheme);
	if (!slice_equal(proto, SLICE("https")) && !slice_equal(proto, SLICE("http")))
		proto = scheme;
	host = told(passage, trusted, SLICE("x-forwarded-host"),
		    http_request_authority(request));
	if (client.size)
		line(&passage->head, SLICE("x-forwarded-for"), client);
	line(&passage->head, SLICE("x-forwarded-proto"), proto);
	if (host.size)
		line(&passage->head, SLICE("x-forwarded-host"), host);
}

static void write_framing(struct passage *passage)
{
	struct slice method = http_request_method(passage->request);
	size_t size = http_request_body(passage->request).size;
	char text[NUMBER_SIZE];

	if (passage->tunnel) {
		buf_append(&passage->head,
			   SLICE("connection: upgrade\r\nupgrade: websocket\r\n"));
		return;
	}
	if (client_request_tells_length(method, size))
		line(&passage->head, SLICE("content-length"),
		     slice_of(text, number_integer((int64_t)size, text)));
}

bool head_write(struct passage *passage, const struct http_header *set, size_t count,
		struct fault *why)
{
	buf_reset(&passage->head);
	buf_reserve(&passage->head, 1024);
	if (!write_request_line(passage, why) || !write_host(passage, why) ||
	    !write_client_headers(passage, set, count, why) ||
	    !write_set_headers(passage, set, count, why))
		return false;
	write_forwarded(passage);
	line(&passage->head, SLICE("x-request-id"),
	     slice_of(passage->id, passage->id_size));
	write_framing(passage);
	passage->head_fixed = passage->head.size;
	return passage->head.size <= GATE_HEAD_SIZE_MAX ||
	       too_large(why, "the headers are too large");
}

void head_write_attempt(struct passage *passage, const struct trace_context *trace)
{
	int left_ms = mono_left_ms(loop_now(passage->gate->loop), passage->deadline);
	struct buf *out = &passage->head;
	char text[TRACEPARENT_SIZE], number[NUMBER_SIZE];

	out->size = passage->head_fixed;
	trace_format(trace, text);
	line(out, SLICE("traceparent"), slice_of(text, TRACEPARENT_SIZE - 1));
	if (trace->state.size)
		line(out, SLICE("tracestate"), trace->state);
	line(out, SLICE("x-envoy-expected-rq-timeout-ms"),
	     slice_of(number, number_integer(left_ms > 0 ? left_ms : 1, number)));
	buf_append(out, SLICE("\r\n"));
}

/* --- X-Request-Id ----------------------------------------------------------------- */

static bool is_request_id(struct slice text)
{
	for (size_t i = 0; i < text.size; i++) {
		char c = text.at[i];

		if (!(c >= 'a' && c <= 'z') && !(c >= 'A' && c <= 'Z') &&
		    !(c >= '0' && c <= '9') && c != '.' && c != '_' && c != '-')
			return false;
	}
	return text.size > 0 && text.size <= GATE_REQUEST_ID_SIZE;
}

void head_request_id(struct passage *passage)
{
	struct slice given = http_request_header(passage->request, SLICE("x-request-id"));
	uint64_t bytes[2];

	if (is_request_id(given)) {
		memcpy(passage->id, given.at, given.size);
		passage->id_size = given.size;
		return;
	}
	bytes[0] = random_next(&passage->gate->random);
	bytes[1] = random_next(&passage->gate->random);
	hex_encode(bytes, sizeof(bytes), passage->id);
	passage->id_size = 2 * sizeof(bytes);
}
