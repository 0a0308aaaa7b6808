/* SPDX-License-Identifier: MIT */
/* pattern_node.h -- a compiled pattern as pattern_compile.c leaves it to pattern.c; for
 * them only.
 */
#ifndef SCRIPT_PATTERN_NODE_H
#define SCRIPT_PATTERN_NODE_H

#include <stdbool.h>
#include <stdint.h>

/* 256 bits, one for each byte. */
struct byte_set {
	uint64_t bits[4];
};

enum pattern_op {
	OP_end,
	OP_malformed,
	OP_literal, /* bytes, one after the other */
	OP_any,
	OP_set,
	OP_greedy, /* an item repeated, `least` times or more: as often as it can first */
	OP_lazy, /* as seldom as it can first */
	OP_maybe,
	OP_open,
	OP_close,
	OP_position,
	OP_again, /* what a capture took */
	OP_balance,
	OP_frontier,
	OP_subject_end
};

enum pattern_item { ITEM_byte, ITEM_any, ITEM_set };

/* What must follow a repeated item, as far as one byte can tell: a byte, or one of these.
 * It saves going on where the next item fails at once. */
enum { FOLLOW_anything = -1, FOLLOW_end = 256 };

struct pattern_node {
	uint8_t op;
	uint8_t item; /* greedy, lazy, maybe */
	uint8_t byte; /* of the item; number of the capture; opening byte */
	uint8_t least; /* greedy; closing byte */
	union {
		int32_t follow; /* greedy, lazy */
		uint32_t size; /* literal */
	};
	union {
		const char *literal;
		const struct byte_set *set;
	};
};

struct pattern {
	const struct byte_set *first_set; /* a match begins with one of them; or NULL */
	const char *why; /* of the malformed node */
	int16_t first_byte; /* a match begins with it, unless FOLLOW_anything */
	bool anchored;
	uint8_t capture_count;
	struct pattern_node nodes[];
};

static inline bool set_has(const struct byte_set *set, unsigned char byte)
{
	return set->bits[byte >> 6] >> (byte & 63) & 1;
}

#endif
