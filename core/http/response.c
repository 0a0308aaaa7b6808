/* SPDX-License-Identifier: MIT */
/* Hot path: http_respond, once per request. Budget: see request.c. All memory comes from
 * the request's pool, which h2o frees in one go. */
#include "base/check.h"
#include "http/server_inside.h"

#include <h2o.h>

/* Lower case of the characters of a header name (RFC 9110 token); 0 for all others. */
static const char name_characters[256] = {
	['!'] = '!', ['#'] = '#', ['$'] = '$', ['%'] = '%', ['&'] = '&', ['\''] = '\'',
	['*'] = '*', ['+'] = '+', ['-'] = '-', ['.'] = '.', ['^'] = '^', ['_'] = '_',
	['`'] = '`', ['|'] = '|', ['~'] = '~', ['0'] = '0', ['1'] = '1', ['2'] = '2',
	['3'] = '3', ['4'] = '4', ['5'] = '5', ['6'] = '6', ['7'] = '7', ['8'] = '8',
	['9'] = '9', ['A'] = 'a', ['B'] = 'b', ['C'] = 'c', ['D'] = 'd', ['E'] = 'e',
	['F'] = 'f', ['G'] = 'g', ['H'] = 'h', ['I'] = 'i', ['J'] = 'j', ['K'] = 'k',
	['L'] = 'l', ['M'] = 'm', ['N'] = 'n', ['O'] = 'o', ['P'] = 'p', ['Q'] = 'q',
	['R'] = 'r', ['S'] = 's', ['T'] = 't', ['U'] = 'u', ['V'] = 'v', ['W'] = 'w',
	['X'] = 'x', ['Y'] = 'y', ['Z'] = 'z', ['a'] = 'a', ['b'] = 'b', ['c'] = 'c',
	['d'] = 'd', ['e'] = 'e', ['f'] = 'f', ['g'] = 'g', ['h'] = 'h', ['i'] = 'i',
	['j'] = 'j', ['k'] = 'k', ['l'] = 'l', ['m'] = 'm', ['n'] = 'n', ['o'] = 'o',
	['p'] = 'p', ['q'] = 'q', ['r'] = 'r', ['s'] = 's', ['t'] = 't', ['u'] = 'u',
	['v'] = 'v', ['w'] = 'w', ['x'] = 'x', ['y'] = 'y', ['z'] = 'z',
};

static inline bool name_copy(char *to, struct slice name)
{
	for (size_t i = 0; i < name.size; i++)
		if (!(to[i] = name_characters[(unsigned char)name.at[i]]))
			return false;
	return name.size > 0;
}

static inline bool value_copy(char *to, struct slice value)
{
	for (size_t i = 0; i < value.size; i++) {
		char c = value.at[i];

		if (c == '\r' || c == '\n' || c == 0)
			return false;
		to[i] = c;
	}
	return true;
}

/* What h2o writes itself, or what is not for a handler to say. */
static inline bool header_is_ours(const h2o_token_t *token, bool http2)
{
	return token == H2O_TOKEN_CONTENT_LENGTH || token == H2O_TOKEN_CONNECTION ||
	       token == H2O_TOKEN_TRANSFER_ENCODING || token == H2O_TOKEN_DATE ||
	       token == H2O_TOKEN_SERVER || (http2 && token->http2_should_reject);
}

static inline void response_header(h2o_req_t *h2o, const struct http_header *header)
{
	size_t size = header->name.size;
	char *name = h2o_mem_alloc_pool(&h2o->pool, size + header->value.size + 1);
	const h2o_token_t *token;

	if (!name_copy(name, header->name) || !value_copy(name + size, header->value))
		return;
	token = h2o_lookup_token(name, size);
	if (!token)
		h2o_add_header_by_str(&h2o->pool, &h2o->res.headers, name, size, 0, NULL,
				      name + size, header->value.size);
	else if (!header_is_ours(token, h2o->version >= 0x200))
		h2o_add_header(&h2o->pool, &h2o->res.headers, token, NULL, name + size,
			       header->value.size);
}

static void response_send(void *context)
{
	static h2o_generator_t generator; /* nothing comes after the first send */
	struct http_request *request = context;
	h2o_iovec_t body = h2o_iovec_init(request->body.at, request->body.size);

	request->server->own_answer = true;
	h2o_start_response(request->h2o, &generator);
	request->server->own_answer = false;
	h2o_send(request->h2o, &body, body.len ? 1 : 0, H2O_SEND_STATE_FINAL);
}

static const char *response_reason(int status);

void server_response_head(struct http_request *request, int status,
			  const struct http_header *headers, size_t header_count)
{
	h2o_req_t *h2o = request->h2o;

	h2o->res.status = status;
	h2o->res.reason = response_reason(status);
	h2o_vector_reserve(&h2o->pool, &h2o->res.headers, header_count);
	for (size_t i = 0; i < header_count; i++)
		response_header(h2o, &headers[i]);
	if (request->server->quiesced)
		h2o->http1_is_persistent = 0;
}

void http_respond(struct http_request *request, int status,
		  const struct http_header *headers, size_t header_count,
		  struct slice body)
{
	h2o_req_t *h2o = request->h2o;

	server_request_answered(request);
	if (status < 200 || status > 599)
		status = 500;
	server_response_head(request, status, headers, header_count);
	if (status == 204 || status == 304) {
		body.size = 0;
	} else {
		h2o->res.content_length = body.size;
		if (slice_equal(http_request_method(request), SLICE("HEAD")))
			body.size = 0;
	}
	if (body.size) {
		request->body.at = memcpy(h2o_mem_alloc_pool(&h2o->pool, body.size),
					  body.at, body.size);
		request->body.size = body.size;
	}
	if (__builtin_expect(request->server->inside_gone, 0))
		/* h2o is taking a connection apart, perhaps the one this would go to. */
		loop_defer(request->server->loop, &request->send, response_send, request);
	else
		response_send(request);
}

/* --- cold ------------------------------------------------------------------------- */

#define RESPOND_HEADERS_MAX 16

void http_respond_fault(struct http_request *request, const struct fault *why,
			struct slice trace_id, const struct http_header *headers,
			size_t header_count)
{
	struct http_header all[RESPOND_HEADERS_MAX + 1] = {
		{ SLICE("content-type"), SLICE("application/problem+json") },
	};
	struct buf text = { 0 };

	check(header_count <= RESPOND_HEADERS_MAX);
	if (header_count)
		memcpy(all + 1, headers, header_count * sizeof(*headers));
	server_problem_write(&text, why, trace_id);
	http_respond(request, fault_status(why), all, header_count + 1, buf_slice(&text));
	buf_finish(&text);
}

static const char *response_reason(int status)
{
	static const struct {
		int status;
		const char *reason;
	} known[] = {
		{ 101, "Switching Protocols" },
		{ 200, "OK" },
		{ 201, "Created" },
		{ 202, "Accepted" },
		{ 204, "No Content" },
		{ 206, "Partial Content" },
		{ 301, "Moved Permanently" },
		{ 302, "Found" },
		{ 303, "See Other" },
		{ 304, "Not Modified" },
		{ 307, "Temporary Redirect" },
		{ 308, "Permanent Redirect" },
		{ 400, "Bad Request" },
		{ 401, "Unauthorized" },
		{ 402, "Payment Required" },
		{ 403, "Forbidden" },
		{ 404, "Not Found" },
		{ 405, "Method Not Allowed" },
		{ 406, "Not Acceptable" },
		{ 408, "Request Timeout" },
		{ 409, "Conflict" },
		{ 410, "Gone" },
		{ 411, "Length Required" },
		{ 412, "Precondition Failed" },
		{ 413, "Content Too Large" },
		{ 415, "Unsupported Media Type" },
		{ 422, "Unprocessable Content" },
		{ 425, "Too Early" },
		{ 426, "Upgrade Required" },
		{ 428, "Precondition Required" },
		{ 429, "Too Many Requests" },
		{ 431, "Request Header Fields Too Large" },
		{ 499, "Client Closed Request" },
		{ 500, "Internal Server Error" },
		{ 501, "Not Implemented" },
		{ 502, "Bad Gateway" },
		{ 503, "Service Unavailable" },
		{ 504, "Gateway Timeout" },
	};

	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
		if (known[i].status == status)
			return known[i].reason;
	return "Other";
}
