/* SPDX-License-Identifier: MIT */
/* Hot path: router_match, once per request. Budget: 150 ns and no allocation for a path
 * of four segments among twenty routes (held by test/bench/http_path_bench.c). Only a
 * percent-encoded segment touches memory, in the caller's scratch.
 *
 * A node is a place in the tree of templates. A path of n segments visits at most the
 * nodes of depth n, each once: there is no way to make a match take long. */
#include "http/router.h"
#include "base/arena.h"
#include "base/check.h"

#include <stdio.h>
#include <stdlib.h>

#define SEGMENTS_MAX 16
#define METHOD_SIZE_MAX 16

/* A route and what its named segments are called, in the order of the path. */
struct known_route {
	struct route route; /* first: router_at gives it */
	struct known_route *next; /* of the same node */
	size_t param_count;
	struct slice params[ROUTER_PARAMS_MAX];
};

struct node {
	struct slice literal;
	struct node **literals; /* sorted: literal_order */
	size_t literal_count;
	struct node *named;
	struct known_route *routes;
	char allow[sizeof(((struct router_match *)0)->allow)];
};

struct router {
	struct arena arena;
	struct node *root; /* stands for the empty text before the first '/' */
	struct known_route **routes;
	size_t count;
};

/* A walk down the tree: what is left of the path, and the named segments so far,
 * undecoded. */
struct walk {
	size_t named_count;
	struct slice named[ROUTER_PARAMS_MAX];
};

/* --- matching --------------------------------------------------------------------- */

static inline int literal_order(struct slice a, struct slice b)
{
	if (a.size != b.size)
		return a.size < b.size ? -1 : 1;
	return memcmp(a.at, b.at, a.size);
}

static inline const struct node *literal_find(const struct node *node,
					      struct slice segment)
{
	size_t low = 0, high = node->literal_count;

	while (low < high) {
		size_t middle = (low + high) / 2;
		int order = literal_order(segment, node->literals[middle]->literal);

		if (order == 0)
			return node->literals[middle];
		if (order < 0)
			high = middle;
		else
			low = middle + 1;
	}
	return NULL;
}

/* rest begins with the '/' before the next segment, or is empty at the end of the path.
 */
static const struct node *node_walk(const struct node *node, struct slice rest,
				    struct walk *walk)
{
	const struct node *below, *found;
	const char *slash;
	struct slice segment;

	if (rest.size == 0)
		return node->routes ? node : NULL;
	rest = slice_of(rest.at + 1, rest.size - 1);
	slash = memchr(rest.at, '/', rest.size);
	segment = slice_of(rest.at, slash ? (size_t)(slash - rest.at) : rest.size);
	if (segment.size == 0)
		return NULL;
	rest = slice_of(rest.at + segment.size, rest.size - segment.size);
	below = literal_find(node, segment);
	if (below && (found = node_walk(below, rest, walk)))
		return found;
	if (!node->named)
		return NULL;
	walk->named[walk->named_count++] = segment;
	found = node_walk(node->named, rest, walk);
	if (!found)
		walk->named_count--;
	return found;
}

static inline const struct known_route *node_route(const struct node *node,
						   struct slice method)
{
	const struct known_route *route;

	for (route = node->routes; route; route = route->next)
		if (slice_equal(route->route.method, method))
			return route;
	return NULL;
}

static inline int digit_value(char digit)
{
	if (digit >= '0' && digit <= '9')
		return digit - '0';
	digit |= 0x20;
	return digit >= 'a' && digit <= 'f' ? digit - 'a' + 10 : -1;
}

/* False when an escape is malformed or hides a NUL, which no name or id has. */
static bool segment_decode_slow(struct slice segment, struct slice *value,
				struct buf *scratch)
{
	char *out = buf_reserve(scratch, segment.size);
	size_t size = 0;

	for (size_t i = 0; i < segment.size; i++) {
		int high, low;

		if (segment.at[i] != '%') {
			out[size++] = segment.at[i];
			continue;
		}
		if (segment.size - i < 3)
			return false;
		high = digit_value(segment.at[i + 1]);
		low = digit_value(segment.at[i + 2]);
		if (high < 0 || low < 0 || high + low == 0)
			return false;
		out[size++] = (char)(high << 4 | low);
		i += 2;
	}
	*value = slice_of(out, size);
	scratch->size += size;
	return true;
}

enum router_outcome router_match(const struct router *router, struct slice method,
				 struct slice path, struct router_match *match,
				 struct buf *scratch)
{
	struct walk walk = { .named_count = 0 };
	const struct known_route *route;
	const struct node *node;
	bool reserved = false;

	match->route = match->sibling = NULL;
	match->allow[0] = 0;
	match->param_count = 0;
	if (path.size == 0 || path.at[0] != '/')
		return ROUTER_missing;
	if (path.size == 1)
		path.size = 0; /* "/" has no segment at all */
	node = node_walk(router->root, path, &walk);
	if (!node)
		return ROUTER_missing;
	route = node_route(node, method);
	if (!route && slice_equal(method, SLICE("HEAD")))
		route = node_route(node, SLICE("GET"));
	if (!route) {
		match->sibling = &node->routes->route;
		memcpy(match->allow, node->allow, sizeof(match->allow));
		return ROUTER_method;
	}
	for (size_t i = 0; i < walk.named_count; i++) {
		struct slice raw = walk.named[i];

		match->params[i].name = route->params[i];
		match->params[i].value = raw;
		if (__builtin_expect(memchr(raw.at, '%', raw.size) == NULL, 1))
			continue;
		/* Room for all at once, or a later one would move an earlier one. */
		if (!reserved)
			buf_reserve(scratch, path.size);
		reserved = true;
		if (!segment_decode_slow(raw, &match->params[i].value, scratch))
			return ROUTER_missing;
	}
	match->param_count = walk.named_count;
	match->route = &route->route;
	return ROUTER_found;
}

/* --- building: cold --------------------------------------------------------------- */

struct router *router_create(void)
{
	struct router *router = mem_zeroed(1, sizeof(*router));

	router->root = mem_zeroed(1, sizeof(*router->root));
	return router;
}

static void node_destroy(struct node *node)
{
	if (!node)
		return;
	for (size_t i = 0; i < node->literal_count; i++)
		node_destroy(node->literals[i]);
	node_destroy(node->named);
	free(node->literals);
	free(node);
}

void router_destroy(struct router *router)
{
	if (!router)
		return;
	node_destroy(router->root);
	free(router->routes);
	arena_finish(&router->arena);
	free(router);
}

static struct node *node_literal(struct node *node, struct slice segment)
{
	struct node *below = (struct node *)literal_find(node, segment);
	size_t place = 0;

	if (below)
		return below;
	below = mem_zeroed(1, sizeof(*below));
	below->literal = segment;
	node->literals = mem_resize(node->literals,
				    (node->literal_count + 1) * sizeof(*node->literals));
	while (place < node->literal_count &&
	       literal_order(node->literals[place]->literal, segment) < 0)
		place++;
	memmove(node->literals + place + 1, node->literals + place,
		(node->literal_count - place) * sizeof(*node->literals));
	node->literals[place] = below;
	node->literal_count++;
	return below;
}

static struct node *node_named(struct node *node)
{
	if (!node->named)
		node->named = mem_zeroed(1, sizeof(*node->named));
	return node->named;
}

static bool method_valid(struct slice method)
{
	if (method.size == 0 || method.size > METHOD_SIZE_MAX)
		return false;
	for (size_t i = 0; i < method.size; i++)
		if (method.at[i] < 'A' || method.at[i] > 'Z')
			return false;
	return true;
}

/* What may stand in a path unescaped (RFC 3986), without the percent sign. */
static bool segment_valid(struct slice segment)
{
	for (size_t i = 0; i < segment.size; i++) {
		char c = segment.at[i];
		bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');

		if (!letter && !(c >= '0' && c <= '9') &&
		    !(c && strchr("-._~!$&'()*+,;=:@", c)))
			return false;
	}
	return segment.size > 0;
}

static bool name_valid(struct slice name)
{
	for (size_t i = 0; i < name.size; i++) {
		char c = name.at[i];

		if (!(c >= 'a' && c <= 'z') && !(c >= 'A' && c <= 'Z') && c != '_' &&
		    !(i && c >= '0' && c <= '9'))
			return false;
	}
	return name.size > 0;
}

/* Reads the named segments into route; nothing is added to the tree yet. */
static bool template_check(struct slice template, struct known_route *route,
			   struct fault *why)
{
	struct slice rest = slice_of(template.at + 1, template.size - 1), segment;
	size_t segments = 0;

	while (rest.at && template.size > 1 && slice_cut(&rest, '/', &segment)) {
		bool named = segment.size && segment.at[0] == ':';
		struct slice name = slice_of(segment.at + named, segment.size - named);

		if (named ? !name_valid(name) : !segment_valid(segment))
			return fault_set(why, FAULT_bad_input,
					 "route template '%.*s': bad segment '%.*s'",
					 SLICE_PRINT(template), SLICE_PRINT(segment));
		if (++segments > SEGMENTS_MAX ||
		    (named && route->param_count == ROUTER_PARAMS_MAX))
			return fault_set(why, FAULT_bad_input,
					 "route template '%.*s': too many segments",
					 SLICE_PRINT(template));
		for (size_t i = 0; named && i < route->param_count; i++)
			if (slice_equal(route->params[i], name))
				return fault_set(why, FAULT_bad_input,
						 "route template '%.*s': '%.*s' twice",
						 SLICE_PRINT(template),
						 SLICE_PRINT(name));
		if (named)
			route->params[route->param_count++] = name;
	}
	return true;
}

static struct node *template_node(struct router *router, struct slice template)
{
	struct slice rest = slice_of(template.at + 1, template.size - 1), segment;
	struct node *node = router->root;

	while (template.size > 1 && slice_cut(&rest, '/', &segment))
		node = segment.at[0] == ':' ? node_named(node)
					    : node_literal(node, segment);
	return node;
}

static int slice_order(struct slice a, struct slice b)
{
	int order = memcmp(a.at, b.at, a.size < b.size ? a.size : b.size);

	return order ? order : (a.size > b.size) - (a.size < b.size);
}

/* "GET, HEAD, POST": the methods of the node's routes in alphabetical order. */
static bool node_allow(struct node *node, struct fault *why)
{
	char allow[sizeof(node->allow)] = "";
	struct slice last = SLICE("");
	size_t size = 0;

	for (;;) {
		struct slice next = { 0 };
		const struct known_route *route;

		for (route = node->routes; route; route = route->next) {
			struct slice methods[] = { route->route.method, SLICE("HEAD") };
			size_t count = slice_equal(methods[0], SLICE("GET")) ? 2 : 1;

			for (size_t i = 0; i < count; i++)
				if (slice_order(methods[i], last) > 0 &&
				    (!next.at || slice_order(methods[i], next) < 0))
					next = methods[i];
		}
		if (!next.at)
			break;
		if (size + next.size + 3 > sizeof(allow))
			return fault_set(why, FAULT_bad_input,
					 "too many methods for one route template");
		size += (size_t)snprintf(allow + size, sizeof(allow) - size, "%s%.*s",
					 size ? ", " : "", SLICE_PRINT(next));
		last = next;
	}
	memcpy(node->allow, allow, sizeof(allow));
	return true;
}

bool router_add(struct router *router, struct slice method, struct slice template,
		void *handler, struct fault *why)
{
	struct known_route *route;
	struct node *node;

	if (!method_valid(method))
		return fault_set(why, FAULT_bad_input,
				 "route method '%.*s': capitals only",
				 SLICE_PRINT(method));
	if (template.size == 0 || template.at[0] != '/')
		return fault_set(why, FAULT_bad_input,
				 "route template '%.*s' does not begin with '/'",
				 SLICE_PRINT(template));
	template = arena_copy(&router->arena, template);
	route = arena_alloc(&router->arena, sizeof(*route));
	*route = (struct known_route){ .route = {
					       .method =
						       arena_copy(&router->arena, method),
					       .template = template,
					       .handler = handler,
					       .index = (uint32_t)router->count,
				       } };
	if (!template_check(template, route, why))
		return false;
	node = template_node(router, template);
	if (node_route(node, method))
		return fault_set(why, FAULT_bad_input, "route %.*s %.*s is there already",
				 SLICE_PRINT(method), SLICE_PRINT(template));
	route->next = node->routes;
	node->routes = route;
	if (!node_allow(node, why)) {
		node->routes = route->next;
		return false;
	}
	router->routes =
		mem_resize(router->routes, (router->count + 1) * sizeof(*router->routes));
	router->routes[router->count++] = route;
	return true;
}

size_t router_count(const struct router *router)
{
	return router->count;
}

const struct route *router_at(const struct router *router, size_t index)
{
	check(index < router->count);
	return &router->routes[index]->route;
}
