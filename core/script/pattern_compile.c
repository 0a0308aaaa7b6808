/* SPDX-License-Identifier: MIT */
#include "script/pattern.h"

#include "script/pattern_node.h"

/* --- classes ---------------------------------------------------------------------- */

#define CLASS(letter, low, high)                                                         \
	[letter - 'a'] = { { { low, high, 0, 0 } },                                      \
			   { { ~(uint64_t)(low), ~(uint64_t)(high), ~UINT64_C(0),        \
			       ~UINT64_C(0) } } }

#define DIGITS UINT64_C(0x03ff000000000000)
#define UPPER UINT64_C(0x0000000007fffffe)
#define LOWER UINT64_C(0x07fffffe00000000)

/* Sorted; each and its complement. */
static const struct byte_set classes[26][2] = {
	CLASS('a', 0, UPPER | LOWER),
	CLASS('c', UINT64_C(0x00000000ffffffff), UINT64_C(0x8000000000000000)),
	CLASS('d', DIGITS, 0),
	CLASS('g', UINT64_C(0xfffffffe00000000), UINT64_C(0x7fffffffffffffff)),
	CLASS('l', 0, LOWER),
	CLASS('p', UINT64_C(0xfc00fffe00000000), UINT64_C(0x78000001f8000001)),
	CLASS('s', UINT64_C(0x0000000100003e00), 0),
	CLASS('u', 0, UPPER),
	CLASS('w', DIGITS, UPPER | LOWER),
	CLASS('x', DIGITS, UINT64_C(0x0000007e0000007e)),
	CLASS('z', 1, 0),
};

/* The class behind a "%", or NULL: then it stands for itself. */
static const struct byte_set *class_of(unsigned char letter)
{
	unsigned char lower = letter | 0x20;
	const struct byte_set *class;

	if (lower < 'a' || lower > 'z')
		return NULL;
	class = &classes[lower - 'a'][letter != lower];
	return classes[lower - 'a'][1].bits[3] ? class : NULL;
}

static inline void set_add(struct byte_set *set, unsigned char byte)
{
	set->bits[byte >> 6] |= UINT64_C(1) << (byte & 63);
}

/* --- compiling -------------------------------------------------------------------- */

struct compiler {
	const char *at;
	const char *end;
	struct pattern *pattern;
	struct pattern_node *node; /* the next one */
	struct byte_set *set; /* the next one */
	uint32_t open; /* captures that are, one bit each */
};

/* At most so many nodes. One that begins with "%" is made of that and a further byte; the
 * others of a byte at least. Three are a "%" at the end, an unfinished capture, and the
 * end. */
static size_t nodes_max(struct slice text)
{
	size_t signs = 0;

	for (size_t i = 0; i < text.size; i++)
		signs += text.at[i] == '%';
	return 3 + text.size - (signs + 1) / 2;
}

size_t pattern_size(struct slice text)
{
	size_t sets = 0;

	for (size_t i = 0; i < text.size; i++)
		sets += text.at[i] == '[';
	return sizeof(struct pattern) + nodes_max(text) * sizeof(struct pattern_node) +
	       sets * sizeof(struct byte_set);
}

static struct pattern_node *emit(struct compiler *c, enum pattern_op op)
{
	*c->node = (struct pattern_node){ .op = op };
	return c->node++;
}

/* The last node: what stands behind it does not matter. */
static void emit_malformed(struct compiler *c, const char *why)
{
	emit(c, OP_malformed);
	c->pattern->why = why;
	c->at = c->end;
}

/* The "]" that ends a set whose first member is at `at`; NULL if none does. */
static const char *set_end(const char *at, const char *end)
{
	do {
		if (at >= end)
			return NULL;
		at += *at == '%' && end - at > 1 ? 2 : 1;
	} while (at >= end || *at != ']');
	return at;
}

static void add_class(struct byte_set *set, const struct byte_set *class)
{
	for (size_t i = 0; i < 4; i++)
		set->bits[i] |= class->bits[i];
}

/* A range that ends with "%" has no meaning; what it does then is what Lua does. */
static void add_members(struct byte_set *set, const char *at, const char *end)
{
	for (; at < end; at++) {
		const struct byte_set *class =
			*at == '%' ? class_of((unsigned char)at[1]) : NULL;

		if (class) {
			add_class(set, class);
			at++;
		} else if (*at == '%') {
			set_add(set, (unsigned char)*++at);
		} else if (end - at > 2 && at[1] == '-') {
			for (int byte = (unsigned char)at[0];
			     byte <= (unsigned char)at[2]; byte++)
				set_add(set, (unsigned char)byte);
			at += 2;
		} else {
			set_add(set, (unsigned char)*at);
		}
	}
}

/* Reads a set behind its "[". NULL: it does not end, and is malformed. */
static const struct byte_set *read_set(struct compiler *c)
{
	bool inverted = c->at < c->end && *c->at == '^';
	const char *end = set_end(c->at + inverted, c->end);
	struct byte_set *set = c->set++;

	if (!end) {
		emit_malformed(c, "malformed pattern (missing ']')");
		return NULL;
	}
	memset(set, 0, sizeof(*set));
	add_members(set, c->at + inverted, end);
	for (size_t i = 0; inverted && i < 4; i++)
		set->bits[i] = ~set->bits[i];
	c->at = end + 1;
	return set;
}

static void read_open(struct compiler *c)
{
	struct pattern *pattern = c->pattern;
	bool position = c->at < c->end && *c->at == ')';
	struct pattern_node *node;

	c->at += position;
	if (pattern->capture_count == PATTERN_CAPTURES_MAX) {
		emit_malformed(c, "too many captures");
		return;
	}
	node = emit(c, position ? OP_position : OP_open);
	node->byte = pattern->capture_count++;
	if (!position)
		c->open |= UINT32_C(1) << node->byte;
}

/* Closes the capture that was opened last. */
static void read_close(struct compiler *c)
{
	if (!c->open) {
		emit_malformed(c, "invalid pattern capture");
		return;
	}
	emit(c, OP_close)->byte = (uint8_t)(31 - __builtin_clz(c->open));
	c->open &= ~(UINT32_C(1) << c->node[-1].byte);
}

static void read_again(struct compiler *c, char digit)
{
	int number = digit - '1';

	if (number < 0 || number >= c->pattern->capture_count || c->open >> number & 1)
		emit_malformed(c, "invalid capture index");
	else
		emit(c, OP_again)->byte = (uint8_t)number;
}

static void read_balance(struct compiler *c)
{
	struct pattern_node *node;

	if (c->end - c->at < 2) {
		emit_malformed(c, "unbalanced pattern");
		return;
	}
	node = emit(c, OP_balance);
	node->byte = (unsigned char)c->at[0];
	node->least = (unsigned char)c->at[1];
	c->at += 2;
}

static void read_frontier(struct compiler *c)
{
	const struct byte_set *set;

	if (c->at == c->end || *c->at != '[') {
		emit_malformed(c, "missing '[' after '%f' in pattern");
		return;
	}
	c->at++;
	set = read_set(c);
	if (set)
		emit(c, OP_frontier)->set = set;
}

/* A byte that is not repeated: with the ones before it when they are one text. */
static void emit_literal(struct compiler *c, const char *at)
{
	struct pattern_node *last = c->node - 1;

	if (c->node > c->pattern->nodes && last->op == OP_literal &&
	    last->literal + last->size == at) {
		last->size++;
	} else {
		last = emit(c, OP_literal);
		last->literal = at;
		last->size = 1;
	}
}

/* An item is read, and c->at is behind it: what says how often it comes? The set is
 * NULL unless it is one; byte is a byte's place in the pattern. */
static void emit_item(struct compiler *c, enum pattern_item item,
		      const struct byte_set *set, const char *byte)
{
	char sign = c->at < c->end ? *c->at : 0;
	enum pattern_op op = sign == '*' || sign == '+' ? OP_greedy
			     : sign == '-'		? OP_lazy
			     : sign == '?'		? OP_maybe
			     : item == ITEM_any		? OP_any
							: OP_set;
	struct pattern_node *node;

	if (op == OP_set && item == ITEM_byte) {
		emit_literal(c, byte);
		return;
	}
	node = emit(c, op);
	node->item = item;
	node->least = sign == '+';
	node->set = set;
	if (item == ITEM_byte)
		node->byte = (unsigned char)*byte;
	if (op == OP_greedy || op == OP_lazy || op == OP_maybe)
		c->at++;
}

/* Behind a "%". */
static void read_escaped(struct compiler *c)
{
	const char *at = c->at;
	const struct byte_set *class;

	if (at == c->end) {
		emit_malformed(c, "malformed pattern (ends with '%')");
		return;
	}
	c->at++;
	if (*at == 'b') {
		read_balance(c);
	} else if (*at == 'f') {
		read_frontier(c);
	} else if (*at >= '0' && *at <= '9') {
		read_again(c, *at);
	} else {
		class = class_of((unsigned char)*at);
		emit_item(c, class ? ITEM_set : ITEM_byte, class, at);
	}
}

static void read_one(struct compiler *c)
{
	const char *at = c->at++;
	const struct byte_set *set;

	if (*at == '(') {
		read_open(c);
	} else if (*at == ')') {
		read_close(c);
	} else if (*at == '$' && c->at == c->end) {
		emit(c, OP_subject_end);
	} else if (*at == '%') {
		read_escaped(c);
	} else if (*at == '[') {
		set = read_set(c);
		if (set)
			emit_item(c, ITEM_set, set, at);
	} else {
		emit_item(c, *at == '.' ? ITEM_any : ITEM_byte, NULL, at);
	}
}

/* From the last node to the first: what the one behind a repeated item begins with. */
static void find_follow(struct pattern *pattern, struct pattern_node *node)
{
	int32_t follow = FOLLOW_anything;
	const struct byte_set *set = NULL; /* likewise, as far as one is known */

	while (node-- > pattern->nodes) {
		int32_t before = follow;
		const struct byte_set *set_before = set;

		if (node->op == OP_greedy || node->op == OP_lazy)
			node->follow = follow;
		follow = FOLLOW_anything;
		set = NULL;
		switch (node->op) {
		case OP_open:
		case OP_close:
		case OP_position:
			follow = before;
			set = set_before;
			break;
		case OP_literal:
			follow = (unsigned char)*node->literal;
			break;
		case OP_balance:
			follow = node->byte;
			break;
		case OP_subject_end:
			follow = FOLLOW_end;
			break;
		case OP_set:
			set = node->set;
			break;
		case OP_greedy:
			if (node->least && node->item == ITEM_byte)
				follow = node->byte;
			if (node->least && node->item == ITEM_set)
				set = node->set;
			break;
		}
	}
	pattern->first_byte = follow == FOLLOW_end ? FOLLOW_anything : (int16_t)follow;
	pattern->first_set = set;
}

const struct pattern *pattern_compile(void *memory, struct slice text, bool anchors)
{
	struct pattern *pattern = memory;
	struct compiler c = {
		.at = text.at,
		.end = text.at + text.size,
		.pattern = pattern,
		.node = pattern->nodes,
		.set = (struct byte_set *)&pattern->nodes[nodes_max(text)]
	};

	pattern->why = NULL;
	pattern->capture_count = 0;
	pattern->anchored = anchors && text.size > 0 && *text.at == '^';
	c.at += pattern->anchored;
	while (c.at < c.end)
		read_one(&c);
	if (c.open && !pattern->why)
		emit_malformed(&c, "unfinished capture");
	emit(&c, OP_end);
	find_follow(pattern, c.node);
	return pattern;
}
