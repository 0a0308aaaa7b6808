/* SPDX-License-Identifier: MIT */
/* client_record.h -- what is said about one outgoing exchange when it is over, a script's
 * call or a forwarded attempt: its CLIENT span and its series. Hot path.
 */
#ifndef HTTP_CLIENT_RECORD_H
#define HTTP_CLIENT_RECORD_H

#include "base/clock.h"
#include "base/fault.h"

struct observer;
struct span;

struct client_record {
	struct slice method; /* a label: client_record_method */
	struct slice server; /* "host:port" */
	struct mono began;
	int status; /* of the answer; 0: there is none */
	const struct fault *why; /* NULL: it went well */
};

/* A method as a label: a known one, or "_OTHER". */
struct slice client_record_method(struct slice method);

/* Counts it and ends the span, which may be NULL. A failure that is the caller's leaving
 * is not the other side's: the span does not fail. */
void client_record_end(const struct observer *observer, struct span *span,
		       const struct client_record *record);

#endif
