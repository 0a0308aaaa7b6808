/* SPDX-License-Identifier: MIT */
/* traceparent_fuzz.c -- any bytes as traceparent and tracestate, parted by a line feed.
 *
 *     clang -g -fsanitize=fuzzer,address,undefined -D_GNU_SOURCE -Icore -o
 * /tmp/traceparent_fuzz \
 *         test/fuzz/traceparent_fuzz.c core/watch/trace_parse.c core/base/hex.c \
 *         core/base/slice.c core/base/check.c
 *     /tmp/traceparent_fuzz -max_len=1024 -max_total_time=60
 */
#include "base/check.h"
#include "watch/trace.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

/* What was taken can be written, and read again as the same. */
static void check_taken(const struct trace_context *parent, struct slice state)
{
	struct trace_context again;
	char text[TRACEPARENT_SIZE];

	check(parent->remote);
	check((parent->flags & ~(TRACE_FLAG_SAMPLED | TRACE_FLAG_RANDOM)) == 0);
	trace_format(parent, text);
	check(strlen(text) == TRACEPARENT_SIZE - 1);
	check(trace_parse(slice_text(text), parent->state, &again));
	check(memcmp(again.trace_id, parent->trace_id, sizeof(again.trace_id)) == 0);
	check(memcmp(again.span_id, parent->span_id, sizeof(again.span_id)) == 0);
	check(again.flags == parent->flags);
	check(slice_equal(again.state, parent->state));
	if (parent->state.size > 0)
		check(parent->state.at >= state.at &&
		      parent->state.at + parent->state.size <= state.at + state.size);
	for (size_t i = 0; i < parent->state.size; i++)
		check((parent->state.at[i] >= 0x20 && parent->state.at[i] < 0x7f) ||
		      parent->state.at[i] == '\t');
}

static void check_refused(const struct trace_context *parent)
{
	for (size_t i = 0; i < sizeof(parent->trace_id); i++)
		check(parent->trace_id[i] == 0);
	for (size_t i = 0; i < sizeof(parent->span_id); i++)
		check(parent->span_id[i] == 0);
	check(parent->flags == 0 && !parent->remote && parent->state.size == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
	struct slice state = { (const char *)bytes, size }, text;
	struct trace_context parent;
	char *text_copy, *state_copy;

	if (size == 0 || !slice_cut(&state, '\n', &text))
		return 0;
	/* Copies of the exact sizes, so that a read beyond either end is seen. */
	text_copy = malloc(text.size + !text.size);
	state_copy = malloc(state.size + !state.size);
	check(text_copy != NULL && state_copy != NULL);
	if (text.size > 0)
		memcpy(text_copy, text.at, text.size);
	if (state.size > 0)
		memcpy(state_copy, state.at, state.size);
	text.at = text_copy;
	state.at = state_copy;
	if (trace_parse(text, state, &parent))
		check_taken(&parent, state);
	else
		check_refused(&parent);
	free(text_copy);
	free(state_copy);
	return 0;
}
