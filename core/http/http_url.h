/* SPDX-License-Identifier: MIT */
/* http_url.h -- the URLs that we send requests to: http://host[:port][/path][?query].
 *
 * Strict, because the parts go onto the wire: only visible ASCII, no user:password@, no
 * fragment, a port from 1 to 65535, an IPv6 address in brackets.
 */
#ifndef HTTP_URL_H
#define HTTP_URL_H

#include "base/fault.h"

struct http_url { /* borrows the text that was parsed */
	struct slice host; /* without brackets */
	struct slice authority; /* host[:port] as written: the Host header */
	struct slice target; /* "/path?query", as written; see path_missing */
	struct slice path; /* target without the query */
	bool path_missing; /* "http://host", "http://host?query": '/' goes before target
			    */
	unsigned port; /* 80 when none is written */
};

/* False, bad_input: the reason, without the text itself, for it may hold a secret. */
bool http_url_parse(struct slice text, struct http_url *url, struct fault *why);

#endif
