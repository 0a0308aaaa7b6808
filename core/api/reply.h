/* SPDX-License-Identifier: MIT */
/* reply.h -- what a handler returned, as an HTTP answer.
 *
 *   status, body[, headers]   a table is written as JSON, a text as it is, nil as nothing
 *   a fault                   its problem document (RFC 9457), its further fields too
 *   anything else             500: "the handler returned ..."
 */
#ifndef API_REPLY_H
#define API_REPLY_H

#include "base/buf.h"
#include "base/fault.h"
#include "http/request.h"

struct lua_State;

#define REPLY_HEADERS_MAX 32

struct reply {
	int status;
	struct http_header headers[REPLY_HEADERS_MAX]; /* borrow the Lua stack */
	size_t header_count;
	struct fault why; /* kind FAULT_none: it went well */
};

/* Reads the stack of L as task_done_fn gets it (why: the task failed), writes the body.
 * trace_id may be empty. In production the detail of an internal error stays out of the
 * body. Never raises. Hot path. */
void reply_read(struct lua_State *L, const struct fault *why, struct slice trace_id,
		bool production, struct reply *reply, struct buf *body);

#endif
