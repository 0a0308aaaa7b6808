/* SPDX-License-Identifier: MIT */
/* router.h -- from method and path to a route, without Lua.
 *
 * A template is `/a/:name/b`: literal segments and named ones. A literal segment wins
 * over a named one at the same place; the named one is tried when nothing below the
 * literal one fits. A named segment is never empty. Matching compares literal segments as
 * sent and percent-decodes named ones into the caller's memory; a path with a malformed
 * escape, or with %00, is missing. No node of the tree is visited twice. "/a" and "/a/"
 * are two paths, and a template does not end in '/', except "/" itself. Built once
 * (cold), then only read: it may be matched from any thread.
 */
#ifndef HTTP_ROUTER_H
#define HTTP_ROUTER_H

#include "base/buf.h"
#include "base/fault.h"

#include <stdint.h>

#define ROUTER_PARAMS_MAX 8

struct router;

struct route {
	struct slice method;
	struct slice template; /* what telemetry calls http.route */
	void *handler; /* the caller's */
	uint32_t index; /* in order of router_add, from 0 */
};

enum router_outcome { ROUTER_found, ROUTER_missing, ROUTER_method };

struct router_match {
	const struct route *route; /* found */
	const struct route
		*sibling; /* method: any route with this path, for its template */
	char allow[64]; /* method: "GET, HEAD, POST", the Allow header */
	size_t param_count;
	struct {
		struct slice name;
		struct slice value; /* decoded; borrows path or scratch */
	} params[ROUTER_PARAMS_MAX];
};

struct router *router_create(void);
void router_destroy(struct router *router);

/* Copies method and template. A bad template, or one taken twice, is bad_input. GET
 * serves HEAD too. */
bool router_add(struct router *router, struct slice method, struct slice template,
		void *handler, struct fault *why);

/* path without the query. scratch holds decoded segments as long as the match is used. */
enum router_outcome router_match(const struct router *router, struct slice method,
				 struct slice path, struct router_match *match,
				 struct buf *scratch);

size_t router_count(const struct router *router);
const struct route *router_at(const struct router *router, size_t index);

#endif
