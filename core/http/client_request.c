/* SPDX-License-Identifier: MIT */
/* client_request.c -- nothing a caller gives can end a line early or name a second
 * framing. */
#include "http/client_request.h"

#include "watch/trace.h"

static bool is_token(struct slice text)
{
	for (size_t i = 0; i < text.size; i++) {
		char c = text.at[i];

		if (c <= 0x20 || c >= 0x7f || strchr("\"(),/:;<=>?@[\\]{}", c))
			return false;
	}
	return text.size > 0;
}

static bool is_value(struct slice text)
{
	for (size_t i = 0; i < text.size; i++) {
		unsigned char c = (unsigned char)text.at[i];

		if ((c < 0x20 && c != '\t') || c == 0x7f)
			return false;
	}
	return true;
}

bool client_request_header_good(const struct http_header *header)
{
	return is_token(header->name) && is_value(header->value);
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

	if (!is_token(call->method))
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
	/* A method that usually has a body says so when it has none. */
	if (call->body.size > 0 || !client_request_idempotent(call->method) ||
	    slice_equal_nocase(call->method, SLICE("PUT")))
		buf_printf(out, "content-length: %zu\r\n", call->body.size);
	buf_append(out, SLICE("\r\n"));
	buf_append(out, call->body);
	return true;
}
