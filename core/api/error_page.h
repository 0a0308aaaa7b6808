/* SPDX-License-Identifier: MIT */
/* error_page.h -- a failed request as a page, for the service's author in a browser.
 *
 * Development only: it shows source and traceback. It is one file, without scripts,
 * pictures or anything from elsewhere; whatever comes from a request or a script is
 * escaped.
 */
#ifndef API_ERROR_PAGE_H
#define API_ERROR_PAGE_H

#include "base/buf.h"
#include "base/fault.h"

struct excerpt;

struct error_page { /* borrowed during the call */
	const struct fault *why;
	struct slice method;
	struct slice path;
	const struct excerpt *excerpt; /* may know nothing */
	struct slice traceback; /* may be empty */
	struct slice trace_id; /* may be empty */
	unsigned generation; /* 0: unknown */
};

/* Whether an Accept header asks for text/html rather than JSON: browsers do, curl and
 * client libraries do not. */
bool error_page_wanted(struct slice accept);

/* Appends the page. */
void error_page_write(const struct error_page *page, struct buf *out);

#endif
