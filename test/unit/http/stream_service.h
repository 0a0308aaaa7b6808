/* SPDX-License-Identifier: MIT */
/* stream_service.h -- for tests: a service that answers in pieces.
 *
 *     /COUNT/SIZE/told      with a length          /COUNT/SIZE/open    without one
 *     /COUNT/SIZE/short     one byte less than it told
 *     /COUNT/SIZE/abort     breaks off after COUNT pieces
 *     /COUNT/SIZE/wait      without a length, and waits after COUNT pieces for faucet_let
 *     /COUNT/SIZE/at_once   begins and ends in one turn; COUNT is 0 or 1
 *
 * The header x-status gives the status. Piece i is of the letter 'a' + i % 26.
 */
#ifndef TEST_STREAM_SERVICE_H
#define TEST_STREAM_SERVICE_H

#include "http2_frames.h"
#include "site_service.h"

struct flow {
	struct flow *next;
	struct faucet *faucet;
	struct http_request *request; /* NULL: over */
	char mode[16];
	unsigned sent, count;
	size_t size;
	bool waiting;
};

struct faucet {
	struct site site;
	struct flow *flows; /* on the server's thread */
	_Atomic int pieces; /* given to the server */
	_Atomic int gone;
	_Atomic int ended;
	_Atomic int refused;
};

static inline bool flow_is(const struct flow *flow, const char *mode)
{
	return strcmp(flow->mode, mode) == 0;
}

static inline char *flow_piece(struct flow *flow, size_t size)
{
	char *piece = mem_zeroed(1, size + 1);

	memset(piece, 'a' + (char)(flow->sent % 26), size);
	flow->sent++;
	flow->faucet->pieces++;
	return piece;
}

static inline void flow_end(struct flow *flow)
{
	struct http_request *request = flow->request;

	flow->request = NULL;
	flow->faucet->ended++;
	if (flow_is(flow, "abort"))
		http_stream_abort(request);
	else
		http_stream_end(request);
}

static inline void flow_drained(void *context)
{
	struct flow *flow = context;
	bool last = flow->sent + 1 == flow->count;
	char *piece;

	check(flow->request);
	if (flow->sent >= flow->count) {
		flow->waiting = flow_is(flow, "wait");
		if (!flow->waiting)
			flow_end(flow);
		return;
	}
	piece = flow_piece(flow, flow->size);
	http_stream_write(
		flow->request,
		slice_of(piece, flow->size - (last && flow_is(flow, "short") ? 1 : 0)));
	free(piece);
	if (last && flow_is(flow, "told"))
		flow_end(flow); /* without waiting */
}

static inline void flow_gone(void *context)
{
	struct flow *flow = context;

	check(flow->request);
	flow->request = NULL;
	flow->faucet->gone++;
}

static inline void faucet_serve(void *context, struct http_request *request)
{
	static const struct http_stream_events events = { flow_drained, flow_gone };
	const struct http_header headers[] = { { SLICE("x-own"), SLICE("kept") },
					       { SLICE("content-length"), SLICE("7") } };
	struct faucet *faucet = context;
	struct flow *flow = mem_zeroed(1, sizeof(*flow));
	struct slice path = http_request_path(request), status;
	unsigned long long number = 200;
	char text[64], *piece;
	bool told;

	flow->faucet = faucet;
	flow->request = request;
	flow->next = faucet->flows;
	faucet->flows = flow;
	snprintf(text, sizeof(text), "%.*s", SLICE_PRINT(path));
	check(sscanf(text, "/%u/%zu/%15s", &flow->count, &flow->size, flow->mode) == 3);
	status = http_request_header(request, SLICE("x-status"));
	if (status.at)
		slice_to_uint(status, &number);
	told = flow_is(flow, "told") || flow_is(flow, "short");
	piece = flow_is(flow, "at_once") && flow->count ? flow_piece(flow, flow->size)
							: NULL;
	http_stream_begin(request, (int)number, headers, 2,
			  told ? flow->count * (uint64_t)flow->size : HTTP_LENGTH_UNKNOWN,
			  slice_of(piece, piece ? flow->size : 0), &events, flow);
	free(piece);
	if (flow_is(flow, "at_once"))
		flow_end(flow);
}

/* Ends those that wait. */
static inline void faucet_let(void *context)
{
	struct faucet *faucet = context;

	for (struct flow *flow = faucet->flows; flow; flow = flow->next)
		if (flow->request && flow->waiting)
			flow_end(flow);
}

static inline void faucet_refused(void *context, struct slice scheme, struct slice method,
				  const struct fault *why, char trace_id[33])
{
	((struct faucet *)context)->refused++;
}

static inline void faucet_open(struct faucet *faucet,
			       const struct http_server_config *changes)
{
	struct http_server_config config = site_config(NULL, NULL);

	if (changes)
		config = *changes;
	config.handler = faucet_serve;
	config.refused = faucet_refused;
	config.context = faucet;
	*faucet = (struct faucet){ 0 };
	site_open(&faucet->site, &config);
}

static inline void faucet_close(struct faucet *faucet)
{
	site_close(&faucet->site);
	while (faucet->flows) {
		struct flow *next = faucet->flows->next;

		assert_null(faucet->flows->request);
		free(faucet->flows);
		faucet->flows = next;
	}
	assert_int_equal(faucet->refused, 0);
}

/* What COUNT pieces of SIZE are; terminated; the caller frees. */
static inline char *flow_text(unsigned count, size_t size)
{
	char *text = mem_zeroed(1, count * size + 1);

	for (unsigned i = 0; i < count; i++)
		memset(text + i * size, 'a' + (char)(i % 26), size);
	return text;
}

/* The text of a chunked body, NULL when it is not whole; the caller frees. rest gets what
 * follows. */
static inline char *chunks_join(const char *body, const char **rest)
{
	struct buf text = { 0 };
	char *joined = NULL, *end;

	for (;;) {
		size_t size = strtoul(body, &end, 16);

		if (end == body || strncmp(end, "\r\n", 2) != 0)
			break;
		body = end + 2;
		if (strlen(body) < size + 2)
			break;
		buf_append(&text, slice_of(body, size));
		body += size + 2;
		if (size)
			continue;
		joined = mem_copy(text.at, text.size);
		*rest = body;
		break;
	}
	buf_finish(&text);
	return joined;
}

static inline void wait_for(_Atomic int *value, int wanted)
{
	for (int tries = 0; *value < wanted && tries < PATIENCE_MS / 5; tries++)
		poll(NULL, 0, 5);
	assert_true(*value >= wanted);
}

#endif
