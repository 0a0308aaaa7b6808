/* SPDX-License-Identifier: MIT */
/* pattern_fuzz.c -- any bytes as a pattern, on any text.
 *
 * The first byte says how long the pattern is, the second where the search begins and
 * whether "^" is an anchor; the rest is the text. Whatever comes out is within the text,
 * a search ends when its budget is spent, and one that begins where another has found
 * something finds the same.
 *
 *     clang -g -fsanitize=fuzzer,address,undefined -D_GNU_SOURCE -Icore -o pattern_fuzz \
 *         test/fuzz/pattern_fuzz.c core/script/pattern*.c core/base/check.c
 */
#include "base/check.h"
#include "script/pattern.h"

#include <stdint.h>
#include <stdlib.h>

#define PATIENCE 200

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool is_impatient(void *context)
{
	size_t *asked = context;

	check(*asked < PATIENCE);
	return ++*asked == PATIENCE;
}

static void check_match(struct slice text, size_t from, const struct pattern_match *match)
{
	const char *end = text.at + text.size;

	check(match->at >= text.at + from && match->at <= end);
	check(match->size <= (size_t)(end - match->at));
	check(match->capture_count <= PATTERN_CAPTURES_MAX);
	for (size_t i = 0; i < match->capture_count; i++) {
		struct slice capture = match->captures[i];

		check(capture.at >= match->at && capture.at <= match->at + match->size);
		check(capture.size == PATTERN_POSITION ||
		      capture.at + capture.size <= match->at + match->size);
	}
}

static enum pattern_outcome search(const struct pattern *pattern, struct slice text,
				   size_t from, struct pattern_match *match)
{
	size_t asked = 0;
	struct pattern_budget budget = { is_impatient, &asked, 0 };
	enum pattern_outcome outcome =
		pattern_search(pattern, text, from, &budget, match);

	switch (outcome) {
	case PATTERN_matched:
		check_match(text, from, match);
		break;
	case PATTERN_malformed:
		check(match->why != NULL);
		break;
	case PATTERN_spent:
		check(asked == PATIENCE);
		break;
	case PATTERN_no:
		break;
	default:
		check(false);
	}
	check(asked > 0 || outcome == PATTERN_no);
	return outcome;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const struct pattern *pattern;
	struct pattern_match match, again;
	struct slice text, pattern_text;
	size_t pattern_length, from;
	void *memory, *copy;

	if (size < 2)
		return 0;
	pattern_length = data[0] < size - 2 ? data[0] : size - 2;
	/* A block of exactly its size, so that a read beyond is seen. */
	copy = mem_resize(NULL, pattern_length + 1);
	pattern_text = slice_of((char *)copy + 1, pattern_length);
	memcpy((char *)copy + 1, data + 2, pattern_length);
	text = slice_of((const char *)data + 2 + pattern_length,
			size - 2 - pattern_length);
	from = text.size ? (data[1] >> 1) % (text.size + 1) : 0;
	memory = mem_zeroed(1, pattern_size(pattern_text));
	pattern = pattern_compile(memory, pattern_text, data[1] & 1);
	if (search(pattern, text, from, &match) == PATTERN_matched) {
		/* The same begins there, if it is looked for from there. */
		from = (size_t)(match.at - text.at);
		if (search(pattern, text, from, &again) == PATTERN_matched)
			check(again.at == match.at && again.size == match.size);
	}
	free(memory);
	free(copy);
	return 0;
}
