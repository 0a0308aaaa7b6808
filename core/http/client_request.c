/* SPDX-License-Identifier: MIT */
/* client_request.c -- nothing a caller gives can end a line early or name a second
 * framing. */
#include "http/client_request.h"

#include "watch/trace.h"

/* RFC 9110, 5.6.2. */
static const char token[256] = {
	['!'] = 1, ['#'] = 1, ['$'] = 1, ['%'] = 1, ['&'] = 1, ['\''] = 1, ['*'] = 1,
	['+'] = 1, ['-'] = 1, ['.'] = 1, ['^'] = 1, ['_'] = 1, ['`'] = 1,  ['|'] = 1,
	['~'] = 1, ['0'] = 1, ['1'] = 1, ['2'] = 1, ['3'] = 1, ['4'] = 1,  ['5'] = 1,
	['6'] = 1, ['7'] = 1, ['8'] = 1, ['9'] = 1, ['A'] = 1, ['B'] = 1,  ['C'] = 1,
	['D'] = 1, ['E'] = 1, ['F'] = 1, ['G'] = 1, ['H'] = 1, ['I'] = 1,  ['J'] = 1,
	['K'] = 1, ['L'] = 1, ['M'] = 1, ['N'] = 1, ['O'] = 1, ['P'] = 1,  ['Q'] = 1,
	['R'] = 1, ['S'] = 1, ['T'] = 1, ['U'] = 1, ['V'] = 1, ['W'] = 1,  ['X'] = 1,
	['Y'] = 1, ['Z'] = 1, ['a'] = 1, ['b'] = 1, ['c'] = 1, ['d'] = 1,  ['e'] = 1,
	['f'] = 1, ['g'] = 1, ['h'] = 1, ['i'] = 1, ['j'] = 1, ['k'] = 1,  ['l'] = 1,
	['m'] = 1, ['n'] = 1, ['o'] = 1, ['p'] = 1, ['q'] = 1, ['r'] = 1,  ['s'] = 1,
	['t'] = 1, ['u'] = 1, ['v'] = 1, ['w'] = 1, ['x'] = 1, ['y'] = 1,  ['z'] = 1,
};

bool client_request_token_good(struct slice text)
{
	char good = text.size > 0;

	for (size_t i = 0; i < text.size; i++)
		good &= token[(unsigned char)text.at[i]];
	return good;
}

bool client_request_value_good(struct slice text)
{
	unsigned bad = 0;

	for (size_t i = 0; i < text.size; i++) {
		unsigned char c = (unsigned char)text.at[i];

		bad |= (c < 0x20) & (c != '\t');
		bad |= c == 0x7f;
	}
	return !bad;
}

bool client_request_header_good(const struct http_header *header)
{
	return client_request_token_good(header->name) &&
	       client_request_value_good(header->value);
}

static bool in(struct slice name, const char *const *names)
{
	for (; *names; names++)
		if (slice_equal_nocase(name, slice_text(*names)))
			return true;
	return false;
}

bool client_request_safe(struct slice method)
{
	static const char *const names[] = { "GET", "HEAD", "OPTIONS", NULL };

	return in(method, names);
}

bool client_request_idempotent(struct slice method)
{
	static const char *const names[] = { "DELETE",	"GET", "HEAD",
					     "OPTIONS", "PUT", NULL };

	return in(method, names);
}

bool client_request_known(struct slice method)
{
	static const char *const names[] = { "DELETE", "GET",  "HEAD", "OPTIONS",
					     "PATCH",  "POST", "PUT",  NULL };

	return in(method, names);
}

bool client_request_tells_length(struct slice method, size_t body_size)
{
	return body_size > 0 || !client_request_idempotent(method) ||
	       slice_equal_nocase(method, SLICE("PUT"));
}

/* The framing, the connection and the trace are ours. */
static bool is_ours(struct slice name)
{
	static const char *const names[] = {
		"connection", "content-length",	   "expect",
		"host",	      "keep-alive",	   "proxy-connection",
		"te",	      "traceparent",	   "tracestate",
		"trailer",    "transfer-encoding", "upgrade",
		NULL
	};

	return in(name, names);
}

static void line(struct buf *out, struct slice name, struct slice value)
{
	buf_append(out, name);
	buf_append(out, SLICE(": "));
	buf_append(out, value);
	buf_append(out, SLICE("\r\n"));
}

static bool write_headers(struct buf *out, const struct http_call *call,
			  struct fault *why)
{
	bool has_agent = false;

	for (size_t i = 0; i < call->header_count; i++) {
		struct http_header header = call->headers[i];

		if (!client_request_header_good(&header))
			return fault_set(why, FAULT_bad_input,
					 "header %zu of the request has a bad character",
					 i + 1);
		if (is_ours(header.name))
			continue;
		has_agent =
			has_agent || slice_equal_nocase(header.name, SLICE("user-agent"));
		line(out, header.name, header.value);
	}
	if (!has_agent)
		line(out, SLICE("user-agent"), SLICE("orrery/" ORRERY_VERSION));
	return true;
}

bool client_request_write(struct buf *out, const struct http_call *call,
			  const struct http_url *url, const struct trace_context *trace,
			  struct fault *why)
{
	char text[TRACEPARENT_SIZE];

	if (!client_request_token_good(call->method))
		return fault_set(why, FAULT_bad_input, "the method has a bad character");
	buf_reserve(out, 512 + call->body.size);
	buf_append(out, call->method);
	buf_append(out, url->path_missing ? SLICE(" /") : SLICE(" "));
	buf_append(out, url->target);
	buf_append(out, SLICE(" HTTP/1.1\r\n"));
	line(out, SLICE("host"), url->authority);
	if (!write_headers(out, call, why))
		return false;
	if (trace) {
		trace_format(trace, text);
		line(out, SLICE("traceparent"), slice_text(text));
		if (trace->state.size > 0)
			line(out, SLICE("tracestate"), trace->state);
	}
	if (client_request_tells_length(call->method, call->body.size))
		buf_printf(out, "content-length: %zu\r\n", call->body.size);
	buf_append(out, SLICE("\r\n"));
	buf_append(out, call->body);
	return true;
}
