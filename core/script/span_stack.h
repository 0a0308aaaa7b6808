/* SPDX-License-Identifier: MIT */
/* span_stack.h -- the nested current spans of one task.
 *
 * The innermost is the parent of what the task starts next. An entry is a span begun
 * here, or the context of a remote parent that was adopted. Zeroed is empty.
 */
#ifndef SCRIPT_SPAN_STACK_H
#define SCRIPT_SPAN_STACK_H

#include "base/fault.h"

#define SPAN_STACK_MAX 16

struct span;
struct trace_context;
struct tracer;

struct span_stack {
	struct {
		struct span *span; /* NULL: adopted */
		struct trace_context *adopted;
	} at[SPAN_STACK_MAX];
	int depth;
};

/* The innermost context, or outer (which may be NULL). Borrowed until that entry ends. */
const struct trace_context *span_stack_context(const struct span_stack *stack,
					       const struct trace_context *outer);

/* The innermost entry's span; NULL when it is adopted or there is none. */
struct span *span_stack_top(const struct span_stack *stack);

/* An INTERNAL span below parent. Gives the depth; 0 when the stack is full. */
int span_stack_begin(struct span_stack *stack, struct tracer *tracer, struct slice name,
		     const struct trace_context *parent);

/* A remote parent. Copies. Gives the depth; 0 when the stack is full, -1 when the texts
 * are no valid parent. */
int span_stack_adopt(struct span_stack *stack, struct slice traceparent,
		     struct slice tracestate);

/* Ends all entries at this depth (from 1) and deeper; with why their spans failed. */
void span_stack_end(struct span_stack *stack, int depth, const struct fault *why);

#endif
