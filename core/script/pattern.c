/* SPDX-License-Identifier: MIT */
/* Hot path: once per start in the subject. Budget: as fast as LuaJIT's own functions,
 * which cannot be stopped. */
#include "script/pattern.h"

#include "base/check.h"
#include "script/pattern_node.h"

#define LITERAL_BYTES_PER_STEP 64

/* A repeated item that has something left to try. */
struct choice {
	const struct pattern_node *node;
	const char
		*at; /* greedy: the next end to try; lazy: the last one; maybe: without */
	const char *least; /* greedy: the first end that is allowed */
};

struct matcher {
	const char *start; /* of the subject */
	const char *end;
	struct pattern_match *match;
	struct pattern_budget *budget;
	long steps;
	size_t choice_count;
	const char *why;
	struct choice choices[PATTERN_CHOICES_MAX];
};

static inline bool item_has(const struct pattern_node *node, unsigned char byte)
{
	if (node->item == ITEM_set)
		return set_has(node->set, byte);
	return node->item == ITEM_any || node->byte == byte;
}

/* Behind the last byte from here that the item takes. */
static const char *item_span(const struct pattern_node *node, const char *at,
			     const char *end)
{
	if (node->item == ITEM_any)
		return end;
	if (node->item == ITEM_set)
		while (at < end && set_has(node->set, (unsigned char)*at))
			at++;
	else
		while (at < end && (unsigned char)*at == node->byte)
			at++;
	return at;
}

/* Whether what follows the node can begin here, as far as one byte tells. */
static inline bool may_follow(const struct matcher *m, const struct pattern_node *node,
			      const char *at)
{
	if (node->follow == FOLLOW_anything)
		return true;
	if (at == m->end)
		return node->follow == FOLLOW_end;
	return (unsigned char)*at == node->follow;
}

static inline bool choice_push(struct matcher *m, const struct pattern_node *node,
			       const char *at, const char *least)
{
	if (m->choice_count == PATTERN_CHOICES_MAX) {
		m->why = "pattern too complex";
		return false;
	}
	m->choices[m->choice_count++] = (struct choice){ node, at, least };
	return true;
}

/* The functions below go on at a place and give the one behind, or NULL. */

/* The last end from `at` back to `least` that may be followed. */
static const char *greedy_from(struct matcher *m, const struct pattern_node *node,
			       const char *at, const char *least)
{
	const char *most = at;

	while (!may_follow(m, node, at)) {
		if (at == least) {
			m->steps -= most - at;
			return NULL;
		}
		at--;
	}
	m->steps -= most - at;
	return at == least || choice_push(m, node, at - 1, least) ? at : NULL;
}

static inline const char *greedy(struct matcher *m, const struct pattern_node *node,
				 const char *at)
{
	const char *most = item_span(node, at, m->end);

	m->steps -= most - at;
	if (most - at < node->least)
		return NULL;
	return greedy_from(m, node, most, at + node->least);
}

/* The first end from here that may be followed. */
static const char *lazy_from(struct matcher *m, const struct pattern_node *node,
			     const char *at)
{
	const char *from = at;

	if (node->item == ITEM_any && node->follow >= 0 && node->follow < FOLLOW_end) {
		at = memchr(at, node->follow, (size_t)(m->end - at));
		m->steps -= (at ? at : m->end) - from;
	} else {
		while (!may_follow(m, node, at)) {
			if (at == m->end || !item_has(node, (unsigned char)*at)) {
				m->steps -= at - from;
				return NULL;
			}
			at++;
		}
		m->steps -= at - from;
	}
	return at && choice_push(m, node, at, NULL) ? at : NULL;
}

static const char *lazy_again(struct matcher *m, const struct pattern_node *node,
			      const char *at)
{
	if (at == m->end || !item_has(node, (unsigned char)*at))
		return NULL;
	return lazy_from(m, node, at + 1);
}

static inline const char *maybe(struct matcher *m, const struct pattern_node *node,
				const char *at)
{
	if (at == m->end || !item_has(node, (unsigned char)*at))
		return at;
	return choice_push(m, node, at, NULL) ? at + 1 : NULL;
}

static inline const char *literal(struct matcher *m, const struct pattern_node *node,
				  const char *at)
{
	if (at == m->end || *at != *node->literal)
		return NULL;
	if (node->size == 1)
		return at + 1;
	m->steps -= node->size / LITERAL_BYTES_PER_STEP;
	if ((size_t)(m->end - at) < node->size ||
	    memcmp(at, node->literal, node->size) != 0)
		return NULL;
	return at + node->size;
}

static const char *again(struct matcher *m, const struct pattern_node *node,
			 const char *at)
{
	struct slice took = m->match->captures[node->byte];

	if (took.size > (size_t)(m->end - at)) /* a position is, too */
		return NULL;
	m->steps -= (long)took.size;
	return memcmp(took.at, at, took.size) == 0 ? at + took.size : NULL;
}

static const char *balance(struct matcher *m, const struct pattern_node *node,
			   const char *at)
{
	const char *from = at;
	size_t depth = 1;

	if (at == m->end || (unsigned char)*at != node->byte)
		return NULL;
	while (++at < m->end) {
		if ((unsigned char)*at == node->least) {
			if (--depth == 0)
				break;
		} else if ((unsigned char)*at == node->byte) {
			depth++;
		}
	}
	m->steps -= at - from;
	return at < m->end ? at + 1 : NULL;
}

static const char *frontier(const struct matcher *m, const struct pattern_node *node,
			    const char *at)
{
	unsigned char before = at > m->start ? (unsigned char)at[-1] : 0;
	unsigned char here = at < m->end ? (unsigned char)*at : 0;

	return !set_has(node->set, before) && set_has(node->set, here) ? at : NULL;
}

/* The latest choice that is left: gives the node behind it and where to go on. */
static const struct pattern_node *choose_again(struct matcher *m, const char **at)
{
	*at = NULL;
	while (!m->why && m->choice_count > 0) {
		const struct choice *choice = &m->choices[--m->choice_count];
		const struct pattern_node *node = choice->node;

		if (node->op == OP_greedy)
			*at = greedy_from(m, node, choice->at, choice->least);
		else if (node->op == OP_lazy)
			*at = lazy_again(m, node, choice->at);
		else
			*at = choice->at;
		if (*at)
			return node + 1;
		m->steps--;
	}
	return NULL;
}

/* The nodes that note something and go on at the same place. */
static void note(struct matcher *m, const struct pattern_node *node, const char *at)
{
	struct slice *capture = &m->match->captures[node->byte];

	if (node->op == OP_close) {
		capture->size = (size_t)(at - capture->at);
	} else {
		capture->at = at;
		capture->size = PATTERN_POSITION;
	}
}

static inline bool is_spent(struct matcher *m)
{
	if (__builtin_expect(--m->steps >= 0, 1))
		return false;
	if (m->budget->spent(m->budget->context))
		return true;
	m->steps = PATTERN_POLL_STEPS;
	return false;
}

/* Enters one node; gives the place behind it, or NULL. */
static inline const char *enter(struct matcher *m, const struct pattern_node *node,
				const char *at)
{
	switch ((enum pattern_op)node->op) {
	case OP_literal:
		return literal(m, node, at);
	case OP_any:
		return at < m->end ? at + 1 : NULL;
	case OP_set:
		return at < m->end && set_has(node->set, (unsigned char)*at) ? at + 1
									     : NULL;
	case OP_greedy:
		return greedy(m, node, at);
	case OP_lazy:
		return lazy_from(m, node, at);
	case OP_maybe:
		return maybe(m, node, at);
	case OP_open:
	case OP_close:
	case OP_position:
		note(m, node, at);
		return at;
	case OP_again:
		return again(m, node, at);
	case OP_balance:
		return balance(m, node, at);
	case OP_frontier:
		return frontier(m, node, at);
	case OP_subject_end:
		return at == m->end ? at : NULL;
	case OP_malformed:
	case OP_end:
		break;
	}
	return NULL;
}

static enum pattern_outcome match_at(struct matcher *m, const struct pattern *pattern,
				     const char *start)
{
	const struct pattern_node *node = pattern->nodes;
	const char *at = start;

	m->choice_count = 0;
	for (;;) {
		if (is_spent(m))
			return PATTERN_spent;
		if (node->op == OP_end)
			break;
		at = enter(m, node, at);
		if (at) {
			node++;
			continue;
		}
		if (node->op == OP_malformed)
			m->why = pattern->why;
		node = choose_again(m, &at);
		if (!node)
			return m->why ? PATTERN_malformed : PATTERN_no;
	}
	m->match->at = start;
	m->match->size = (size_t)(at - start);
	return PATTERN_matched;
}

/* The first place from here where a match can begin, or NULL. */
static const char *candidate(const struct matcher *m, const struct pattern *pattern,
			     const char *at)
{
	if (pattern->first_byte != FOLLOW_anything)
		return memchr(at, pattern->first_byte, (size_t)(m->end - at));
	if (!pattern->first_set)
		return at;
	while (at < m->end && !set_has(pattern->first_set, (unsigned char)*at))
		at++;
	return at < m->end ? at : NULL;
}

enum pattern_outcome pattern_search(const struct pattern *pattern, struct slice subject,
				    size_t from, struct pattern_budget *budget,
				    struct pattern_match *match)
{
	struct matcher m;
	const char *at;
	enum pattern_outcome outcome = PATTERN_no;

	check(from <= subject.size);
	m.start = subject.at ? subject.at : "";
	m.end = m.start + subject.size;
	m.match = match;
	m.budget = budget;
	m.steps = budget->steps;
	m.why = NULL;
	for (at = m.start + from; at <= m.end; at++) {
		if (!pattern->anchored)
			at = candidate(&m, pattern, at);
		if (!at)
			break;
		outcome = match_at(&m, pattern, at);
		if (outcome != PATTERN_no || pattern->anchored)
			break;
	}
	budget->steps = m.steps;
	match->why = m.why;
	match->capture_count = pattern->capture_count;
	return outcome;
}
