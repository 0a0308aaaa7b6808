/* SPDX-License-Identifier: MIT */
/* gate_path_fuzz.c -- any path against a gateway's routes, and the rule said plainly: a
 * stack of segments, each with all its escapes undone. What is matched must lead to the
 * same place, and hold nothing that a second reader could take for something else.
 *
 * The input is the path.
 *
 *     clang -g -fsanitize=fuzzer,address,undefined -D_GNU_SOURCE -Icore \
 *         -o gate_path_fuzz test/fuzz/gate_path_fuzz.c core/gate/plan.c \
 *         core/base/[a-z]*.c -lm
 */
#include "base/buf.h"
#include "base/check.h"
#include "gate/plan.h"

#include <stdint.h>
#include <stdlib.h>

#define SEGMENTS_MAX 4096

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Longest prefix first, as gate_plan_finish sorts them. */
static struct gate_route routes[] = {
	{ .prefix = { "/api/v1/orders", 14 } },
	{ .prefix = { "/a/b/c", 6 } },
	{ .prefix = { "/(a)", 4 } },
	{ .prefix = { "/a/b", 4 } },
	{ .prefix = { "/a", 2 } },
	{ .prefix = { "/", 1 } },
};
static const struct gate_plan plan = {
	.routes = routes,
	.route_count = sizeof(routes) / sizeof(*routes),
};

/* --- the rule --------------------------------------------------------------------- */

static int digit(char c)
{
	const char *digits = "0123456789abcdef",
		   *at = c ? strchr(digits, c | 0x20) : NULL;

	return at && (c > '9' ? (c | 0x20) >= 'a' : c >= '0') ? (int)(at - digits) : -1;
}

/* What an escape stands for; -1: it is none. */
static int escaped_at(struct slice text, size_t at)
{
	int high, low;

	if (text.size - at < 3 || text.at[at] != '%')
		return -1;
	high = digit(text.at[at + 1]);
	low = digit(text.at[at + 2]);
	return high < 0 || low < 0 ? -1 : high * 16 + low;
}

/* Without any escape. False: it is malformed. */
static bool undo_escapes(struct slice segment, struct arena *arena, struct slice *out)
{
	char *to = arena_alloc(arena, segment.size + 1);
	size_t size = 0;

	for (size_t i = 0; i < segment.size; i++) {
		int byte = (unsigned char)segment.at[i];

		if (byte == '%') {
			byte = escaped_at(segment, i);
			if (byte <= 0)
				return false;
			i += 2;
		} else if (byte <= 0x20 || byte == 0x7f) {
			return false;
		}
		to[size++] = (char)byte;
	}
	*out = slice_of(to, size);
	return true;
}

/* Where a path leads: its segments. dots: they say where, too. -1: it is malformed. */
static int follow(struct slice path, bool dots, struct arena *arena, struct slice *stack)
{
	struct slice rest, segment;
	int count = 0;

	if (path.size == 0 || path.at[0] != '/')
		return -1;
	rest = slice_of(path.at + 1, path.size - 1);
	while (slice_cut(&rest, '/', &segment)) {
		bool up, here;

		if (!undo_escapes(segment, arena, &stack[count]))
			return -1;
		up = dots && slice_equal(stack[count], SLICE(".."));
		here = dots && slice_equal(stack[count], SLICE("."));
		if (up && count > 0)
			count--;
		if (!up && !here)
			count++;
		else if (rest.at == NULL)
			stack[count++] = SLICE("");
	}
	return count;
}

/* --- what must hold --------------------------------------------------------------- */

static bool is_unreserved(int byte)
{
	return (byte >= 'a' && byte <= 'z') || (byte >= 'A' && byte <= 'Z') ||
	       (byte >= '0' && byte <= '9') || (byte && strchr("-._~", byte));
}

static void check_characters(struct slice path)
{
	for (size_t i = 0; i < path.size; i++) {
		int byte = escaped_at(path, i);

		if (path.at[i] == '%')
			check(byte > 0 && !is_unreserved(byte) && path.at[i + 1] < 'a' &&
			      path.at[i + 2] < 'a');
		else
			check(is_unreserved(path.at[i]) ||
			      (path.at[i] && strchr("/!$&'()*+,;=:@", path.at[i])));
	}
}

static bool has_prefix(struct slice path, struct slice prefix)
{
	return prefix.size == 1 ||
	       (slice_starts_with(path, prefix) &&
		(path.size == prefix.size || path.at[prefix.size] == '/'));
}

static void check_found(const struct gate_route *route, struct slice normal,
			struct arena *arena)
{
	struct slice again;

	check_characters(normal);
	check(has_prefix(normal, route->prefix));
	for (size_t i = 0; i < plan.route_count; i++)
		check(!has_prefix(normal, routes[i].prefix) ||
		      routes[i].prefix.size <= route->prefix.size);
	check(gate_plan_match(&plan, normal, arena, &again) == route);
	check(slice_equal(again, normal));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct slice stack[SEGMENTS_MAX + 1], found[SEGMENTS_MAX + 1];
	struct slice path = slice_of((const char *)data, size), normal;
	const struct gate_route *route;
	struct arena arena = { 0 };
	int count;

	if (size > SEGMENTS_MAX)
		return 0;
	count = follow(path, true, &arena, stack);
	route = gate_plan_match(&plan, path, &arena, &normal);
	check((route != NULL) == (count >= 0));
	if (route) {
		check_found(route, normal, &arena);
		check(follow(normal, false, &arena, found) == count);
		for (int i = 0; i < count; i++)
			check(slice_equal(stack[i], found[i]));
	}
	arena_finish(&arena);
	return 0;
}
