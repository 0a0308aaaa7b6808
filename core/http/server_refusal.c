/* SPDX-License-Identifier: MIT */
/* server_refusal.c -- problem documents, and h2o's own answers turned into them.
 *
 * h2o answers some requests before any handler sees them (a body that is too large, an
 * expectation it does not know). Those answers pass an output filter like all others:
 * there the text is replaced. */
#include "base/problem.h"
#include "http/server_inside.h"

#include <h2o.h>

struct refusal_filter {
	h2o_filter_t super;
	struct http_server *server;
};

struct refusal_stream {
	h2o_ostream_t super;
	h2o_iovec_t text;
};

void server_problem_write(struct buf *out, const struct fault *why, struct slice trace_id)
{
	struct json json = json_to(out);

	problem_open(&json, why, trace_id);
	json_close_object(&json);
}

static void refusal_explain(const struct http_server *server, const h2o_req_t *h2o,
			    struct fault *why)
{
	if (h2o->res.status == 413)
		fault_set_status(why, FAULT_bad_input, 413, "the body is above %zu bytes",
				 server->config.body_size_max);
	else
		fault_set_status(why,
				 h2o->res.status < 500 ? FAULT_bad_input : FAULT_internal,
				 h2o->res.status, "%s", h2o->res.reason);
}

static void refusal_send(h2o_ostream_t *self, h2o_req_t *h2o, h2o_iovec_t *bufs,
			 size_t bufcnt, h2o_send_state_t state)
{
	struct refusal_stream *stream = (struct refusal_stream *)self;

	h2o_ostream_send_next(self, h2o, &stream->text, bufcnt ? 1 : 0, state);
}

static void refusal_set_up(h2o_filter_t *self, h2o_req_t *h2o, h2o_ostream_t **slot)
{
	struct http_server *server = ((struct refusal_filter *)self)->server;
	struct refusal_stream *stream;
	struct buf text = { 0 };
	struct fault why;
	char trace_id[33] = "";

	if (server->own_answer) {
		h2o_setup_next_ostream(h2o, slot);
		return;
	}
	refusal_explain(server, h2o, &why);
	if (server->config.refused)
		server->config.refused(
			server->config.context,
			server->tls ? SLICE("https") : SLICE("http"),
			slice_of(h2o->input.method.base, h2o->input.method.len), &why,
			trace_id);
	server_problem_write(&text, &why, slice_text(trace_id));
	stream = (struct refusal_stream *)h2o_add_ostream(h2o, sizeof(*stream), slot);
	stream->super.do_send = refusal_send;
	stream->text = h2o_strdup(&h2o->pool, text.at, text.size);
	buf_finish(&text);
	h2o->res.content_length = stream->text.len;
	h2o_set_header(&h2o->pool, &h2o->res.headers, H2O_TOKEN_CONTENT_TYPE,
		       H2O_STRLIT("application/problem+json"), 1);
	if (h2o->version < 0x200 && !h2o->http1_is_persistent)
		server_connection_linger(server_connection_of(h2o));
	h2o_setup_next_ostream(h2o, &stream->super.next);
}

void server_refusal_register(struct http_server *server, h2o_pathconf_t *path)
{
	struct refusal_filter *filter =
		(struct refusal_filter *)h2o_create_filter(path, sizeof(*filter));

	filter->super.on_setup_ostream = refusal_set_up;
	filter->server = server;
}
