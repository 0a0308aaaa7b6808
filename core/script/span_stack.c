/* SPDX-License-Identifier: MIT */
#include "script/span_stack.h"

#include "base/check.h"
#include "watch/trace.h"

#include <stdlib.h>

const struct trace_context *span_stack_context(const struct span_stack *stack,
					       const struct trace_context *outer)
{
	const struct span *span = span_stack_top(stack);

	if (!stack->depth)
		return outer;
	return span ? span_context(span) : stack->at[stack->depth - 1].adopted;
}

struct span *span_stack_top(const struct span_stack *stack)
{
	return stack->depth ? stack->at[stack->depth - 1].span : NULL;
}

int span_stack_begin(struct span_stack *stack, struct tracer *tracer, struct slice name,
		     const struct trace_context *parent)
{
	if (stack->depth == SPAN_STACK_MAX)
		return 0;
	stack->at[stack->depth].adopted = NULL;
	stack->at[stack->depth].span = span_start(tracer, SPAN_internal, name, parent);
	return ++stack->depth;
}

int span_stack_adopt(struct span_stack *stack, struct slice traceparent,
		     struct slice tracestate)
{
	struct trace_context parent, *adopted;
	char *state;

	if (stack->depth == SPAN_STACK_MAX)
		return 0;
	if (!trace_parse(traceparent, tracestate, &parent))
		return -1;
	/* The state's bytes live behind the context: one block, one free. */
	adopted = mem_zeroed(1, sizeof(parent) + parent.state.size);
	state = (char *)(adopted + 1);
	if (parent.state.size)
		memcpy(state, parent.state.at, parent.state.size);
	parent.state.at = parent.state.size ? state : NULL;
	*adopted = parent;
	stack->at[stack->depth].adopted = adopted;
	stack->at[stack->depth].span = NULL;
	return ++stack->depth;
}

void span_stack_end(struct span_stack *stack, int depth, const struct fault *why)
{
	while (stack->depth >= depth && stack->depth > 0) {
		struct span *span = span_stack_top(stack);

		if (span && why)
			span_fail(span, slice_text(fault_name(why->kind)),
				  slice_text(why->detail));
		span_end(span);
		free(stack->at[--stack->depth].adopted);
	}
}
