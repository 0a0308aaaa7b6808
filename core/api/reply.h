/* SPDX-License-Identifier: MIT */
/* reply.h -- what a handler returned, as an HTTP answer.
 *
 *   status, body[, headers]   a table is written as JSON, a text as it is, nil as nothing
 *   a fault                   its problem document (RFC 9457), its further fields too
 *   anything else             500: "scripts/x/service.lua:12: the handler returned ..."
 *
 * A bug, or a budget's end, has a place in the source. In development the problem
 * document shows it:
 *
 *   source     {file, line, excerpt: [{line, text}...]}, see excerpt.h
 *   traceback  an array of lines
 *
 * and a browser gets a page with the same instead (error_page.h). In production neither a
 * place nor the detail of an internal error leaves the process.
 */
#ifndef API_REPLY_H
#define API_REPLY_H

#include "base/buf.h"
#include "base/fault.h"
#include "http/request.h"
#include "script/excerpt.h"

struct lua_State;

#define REPLY_HEADERS_MAX 32

struct reply_context { /* what the answer is to; borrowed during the call */
	const struct http_request *request; /* NULL: the client left */
	struct slice trace_id; /* may be empty */
	struct slice traceback; /* of the failed task; may be empty */
	struct slice defined; /* where the handler is written: see service_route */
	unsigned generation; /* 0: unknown */
	bool production;
};

struct reply {
	int status;
	struct http_header headers[REPLY_HEADERS_MAX]; /* borrow the Lua stack */
	size_t header_count;
	struct fault why; /* kind FAULT_none: it went well */
	struct excerpt at; /* where it failed, if that is known; borrows why, the VM's
			      sources and the context's texts */
};

/* Reads the stack of L as task_done_fn gets it (why: the task failed), writes the body.
 * Never raises. Hot path. */
void reply_read(struct lua_State *L, const struct fault *why,
		const struct reply_context *context, struct reply *reply,
		struct buf *body);

#endif
