/* SPDX-License-Identifier: MIT */
/* pattern.h -- Lua 5.1 patterns (section 5.4.1 of its manual) with a budget of steps.
 *
 * A pattern of this kind is a row of items without alternatives and without repeated
 * groups. So it is compiled into a row of nodes, captures have fixed numbers, and the
 * matcher remembers at most one choice for each item that repeats. There is no recursion.
 *
 * Every byte may stand in pattern and subject, NUL too. %f is known. Classes are ASCII's.
 *
 * A malformed pattern is told when the matcher gets to the place, as Lua does: "a[" does
 * not match "b", and is malformed for "a".
 *
 * Invariants
 *   - every capture of a match lies within the subject.
 *   - between two calls of spent lie at most PATTERN_POLL_STEPS steps. A step is a node
 *     entered, a byte that a repeated item, %b or a back reference went over, or some
 *     bytes of a literal text. One such run over the subject is not interrupted.
 */
#ifndef SCRIPT_PATTERN_H
#define SCRIPT_PATTERN_H

#include "base/slice.h"

#define PATTERN_CAPTURES_MAX 32
#define PATTERN_CHOICES_MAX                                                              \
	256 /* repeated items with something left to try; 24 bytes each */
#define PATTERN_POLL_STEPS 512

enum pattern_outcome {
	PATTERN_no,
	PATTERN_matched,
	PATTERN_malformed, /* match->why says how */
	PATTERN_spent
};

/* What may still be spent; over several searches if they are one piece of work. Zeroed
 * but for spent and context, it asks at the first step. */
struct pattern_budget {
	bool (*spent)(void *context);
	void *context;
	long steps;
};

#define PATTERN_POSITION ((size_t)-1) /* size of a capture "()" */

struct pattern_match {
	const char *at; /* the whole match */
	size_t size;
	const char *why; /* of a malformed pattern: a literal */
	size_t capture_count;
	struct slice captures[PATTERN_CAPTURES_MAX]; /* of the subject */
};

struct pattern;

/* How much memory the compiled pattern takes at most; aligned for a pointer. */
size_t pattern_size(struct slice text);

/* Compiles into memory and gives a pointer to it; nothing needs to be finished. Borrows
 * text as long as the pattern is used. Anchors: "^" at the beginning means the place
 * where the search starts; without, it is a byte as others (gmatch). */
const struct pattern *pattern_compile(void *memory, struct slice text, bool anchors);

/* Looks for the first match that begins at or after from (at most subject.size). Match is
 * filled if the outcome is `matched`, and borrows from the subject. */
enum pattern_outcome pattern_search(const struct pattern *pattern, struct slice subject,
				    size_t from, struct pattern_budget *budget,
				    struct pattern_match *match);

#endif
