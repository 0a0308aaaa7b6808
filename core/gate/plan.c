/* SPDX-License-Identifier: MIT */
/* Hot path: gate_plan_match, once per request. Budget: 150 ns and no allocation for a
 * path of 40 bytes in normal form among twenty routes. Only a path that may not be in
 * normal form touches memory, in the caller's arena.
 *
 * plan_check.c says what a plan may hold. */
#include "gate/plan.h"

#include "base/check.h"

#include <stdlib.h>

/* RFC 3986, 3.3: what stands for itself in a path; '/' with it. */
static const char plain[256] = {
	['!'] = 1, ['$'] = 1, ['&'] = 1, ['\''] = 1, ['('] = 1, [')'] = 1, ['*'] = 1,
	['+'] = 1, [','] = 1, ['-'] = 1, ['.'] = 1,  ['/'] = 1, ['0'] = 1, ['1'] = 1,
	['2'] = 1, ['3'] = 1, ['4'] = 1, ['5'] = 1,  ['6'] = 1, ['7'] = 1, ['8'] = 1,
	['9'] = 1, [':'] = 1, [';'] = 1, ['='] = 1,  ['@'] = 1, ['A'] = 1, ['B'] = 1,
	['C'] = 1, ['D'] = 1, ['E'] = 1, ['F'] = 1,  ['G'] = 1, ['H'] = 1, ['I'] = 1,
	['J'] = 1, ['K'] = 1, ['L'] = 1, ['M'] = 1,  ['N'] = 1, ['O'] = 1, ['P'] = 1,
	['Q'] = 1, ['R'] = 1, ['S'] = 1, ['T'] = 1,  ['U'] = 1, ['V'] = 1, ['W'] = 1,
	['X'] = 1, ['Y'] = 1, ['Z'] = 1, ['_'] = 1,  ['a'] = 1, ['b'] = 1, ['c'] = 1,
	['d'] = 1, ['e'] = 1, ['f'] = 1, ['g'] = 1,  ['h'] = 1, ['i'] = 1, ['j'] = 1,
	['k'] = 1, ['l'] = 1, ['m'] = 1, ['n'] = 1,  ['o'] = 1, ['p'] = 1, ['q'] = 1,
	['r'] = 1, ['s'] = 1, ['t'] = 1, ['u'] = 1,  ['v'] = 1, ['w'] = 1, ['x'] = 1,
	['y'] = 1, ['z'] = 1, ['~'] = 1,
};

/* --- matching --------------------------------------------------------------------- */

static bool normal_form_slow(struct slice path, struct arena *arena,
			     struct slice *normal);

/* A segment that begins with a dot may be one that leads elsewhere. */
static inline bool is_normal(struct slice path)
{
	char before = 0;

	for (size_t i = 0; i < path.size; i++) {
		char c = path.at[i];

		if (!plain[(unsigned char)c] || (c == '.' && before == '/'))
			return false;
		before = c;
	}
	return true;
}

static inline bool fits(struct slice prefix, struct slice path)
{
	return path.size >= prefix.size && memcmp(path.at, prefix.at, prefix.size) == 0 &&
	       (path.size == prefix.size || path.at[prefix.size] == '/' ||
		prefix.size == 1);
}

struct gate_route *gate_plan_match(const struct gate_plan *plan, struct slice path,
				   struct arena *arena, struct slice *normal)
{
	*normal = path;
	if (__builtin_expect(!is_normal(path), 0) &&
	    !normal_form_slow(path, arena, normal))
		return NULL;
	for (size_t i = 0; i < plan->route_count; i++)
		if (fits(plan->routes[i].prefix, *normal))
			return &plan->routes[i];
	return NULL;
}

/* --- the normal form -------------------------------------------------------------- */

static int digit_value(char digit)
{
	if (digit >= '0' && digit <= '9')
		return digit - '0';
	digit |= 0x20;
	return digit >= 'a' && digit <= 'f' ? digit - 'a' + 10 : -1;
}

static size_t write_escape(char *to, unsigned char byte)
{
	static const char digits[] = "0123456789ABCDEF";

	to[0] = '%';
	to[1] = digits[byte >> 4];
	to[2] = digits[byte & 15];
	return 3;
}

/* RFC 3986, 2.3: escaped or not, they mean the same. */
static bool is_unreserved(unsigned char byte)
{
	return plain[byte] && !strchr("!$&'()*+,/:;=@", byte);
}

/* One segment, at most three times as long. False: it is malformed. */
static bool write_segment(struct slice segment, char *to, size_t *size)
{
	*size = 0;
	for (size_t i = 0; i < segment.size; i++) {
		unsigned char byte = (unsigned char)segment.at[i];
		int high, low;

		if (byte != '%') {
			if (byte <= 0x20 || byte == 0x7f)
				return false;
			if (plain[byte])
				to[(*size)++] = (char)byte;
			else
				*size += write_escape(to + *size, byte);
			continue;
		}
		if (segment.size - i < 3)
			return false;
		high = digit_value(segment.at[i + 1]);
		low = digit_value(segment.at[i + 2]);
		if (high < 0 || low < 0 || high + low == 0)
			return false;
		byte = (unsigned char)(high << 4 | low);
		if (is_unreserved(byte))
			to[(*size)++] = (char)byte;
		else
			*size += write_escape(to + *size, byte);
		i += 2;
	}
	return true;
}

static size_t without_last_segment(const char *out, size_t size)
{
	while (size > 0 && out[--size] != '/')
		;
	return size;
}

/* RFC 3986, 5.2.4, segment by segment, after their escapes have been undone. */
static bool normal_form_slow(struct slice path, struct arena *arena, struct slice *normal)
{
	struct slice rest, segment;
	size_t size = 0;
	char *out;

	if (path.size == 0 || path.at[0] != '/')
		return false;
	out = arena_alloc(arena, 3 * path.size + 1);
	rest = slice_of(path.at + 1, path.size - 1);
	while (slice_cut(&rest, '/', &segment)) {
		size_t length;
		char *at = out + size + 1;

		if (!write_segment(segment, at, &length))
			return false;
		out[size] = '/';
		if (slice_equal(slice_of(at, length), SLICE(".."))) {
			size = without_last_segment(out, size);
			out[size] = '/';
			size += rest.at == NULL;
		} else if (slice_equal(slice_of(at, length), SLICE("."))) {
			size += rest.at == NULL;
		} else {
			size += 1 + length;
		}
	}
	*normal = slice_of(out, size);
	return true;
}

/* --- life ------------------------------------------------------------------------- */

static void plan_free(struct gate_plan *plan)
{
	arena_finish(&plan->arena);
	free(plan);
}

void gate_plan_destroy(struct gate_plan *plan)
{
	if (!plan)
		return;
	check(!plan->orphan);
	if (plan->passages > 0)
		plan->orphan = true;
	else
		plan_free(plan);
}

void gate_plan_enter(struct gate_plan *plan)
{
	check(!plan->orphan);
	plan->passages++;
}

void gate_plan_leave(struct gate_plan *plan)
{
	check(plan->passages > 0);
	if (--plan->passages == 0 && plan->orphan)
		plan_free(plan);
}
