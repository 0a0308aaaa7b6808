/* SPDX-License-Identifier: MIT */
#include "script/span_stack.h"

#include "watch/trace.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>

#include <cmocka.h>

#define PARENT SLICE("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")

static struct tracer *tracer;
static struct span_stack stack;

static int setup(void **state)
{
	struct tracer_config config = { .sampler = SAMPLER_always_on,
					.recording = true,
					.ring_bytes = 1 << 16 };

	tracer = tracer_create(&config, 1);
	stack = (struct span_stack){ .depth = 0 };
	return 0;
}

static int teardown(void **state)
{
	span_stack_end(&stack, 1, NULL);
	tracer_destroy(tracer);
	return 0;
}

static size_t finished(void)
{
	size_t count = 0;
	struct slice span;

	for (; tracer_peek(tracer, &span); tracer_release(tracer))
		count++;
	return count;
}

static void the_innermost_is_current(void **state)
{
	struct trace_context outer = { .span_id = { 1 } };
	struct span *first, *second;

	assert_ptr_equal(span_stack_context(&stack, &outer), &outer);
	assert_null(span_stack_context(&stack, NULL));
	assert_null(span_stack_top(&stack));
	assert_int_equal(span_stack_begin(&stack, tracer, SLICE("a"), NULL), 1);
	first = span_stack_top(&stack);
	assert_int_equal(
		span_stack_begin(&stack, tracer, SLICE("b"), span_context(first)), 2);
	second = span_stack_top(&stack);
	assert_ptr_equal(span_stack_context(&stack, &outer), span_context(second));
	assert_memory_equal(span_context(second)->trace_id, span_context(first)->trace_id,
			    16);
	span_stack_end(&stack, 2, NULL);
	assert_ptr_equal(span_stack_top(&stack), first);
}

static void an_adopted_parent_is_copied_and_has_no_span(void **state)
{
	char state_text[] = "vendor=1";
	const struct trace_context *context;

	assert_int_equal(span_stack_adopt(&stack, PARENT, slice_text(state_text)), 1);
	state_text[0] = 'X';
	context = span_stack_context(&stack, NULL);
	assert_null(span_stack_top(&stack));
	assert_int_equal(context->span_id[0], 0xb7);
	assert_true(slice_equal(context->state, SLICE("vendor=1")));
	assert_int_equal(span_stack_adopt(&stack, SLICE("nonsense"), SLICE("")), -1);
	assert_int_equal(stack.depth, 1);
}

static void ending_one_ends_those_inside_it(void **state)
{
	struct fault why = { .kind = FAULT_internal, .detail = "x" };

	span_stack_begin(&stack, tracer, SLICE("a"), NULL);
	span_stack_adopt(&stack, PARENT, SLICE("a=1"));
	span_stack_begin(&stack, tracer, SLICE("b"), span_stack_context(&stack, NULL));
	span_stack_end(&stack, 2, &why);
	assert_int_equal(stack.depth, 1);
	assert_int_equal(finished(), 1);
	span_stack_end(&stack, 5, NULL); /* there is nothing that deep */
	assert_int_equal(stack.depth, 1);
	span_stack_end(&stack, 1, NULL);
	span_stack_end(&stack, 1, NULL);
	assert_int_equal(stack.depth, 0);
	assert_int_equal(finished(), 1);
}

static void the_stack_has_a_bound(void **state)
{
	for (int depth = 1; depth <= SPAN_STACK_MAX; depth++)
		assert_int_equal(span_stack_begin(&stack, tracer, SLICE("x"), NULL),
				 depth);
	assert_int_equal(span_stack_begin(&stack, tracer, SLICE("x"), NULL), 0);
	assert_int_equal(span_stack_adopt(&stack, PARENT, SLICE("")), 0);
	assert_int_equal(stack.depth, SPAN_STACK_MAX);
}

int main(void)
{
#define CLAIM(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest claims[] = {
		CLAIM(the_innermost_is_current),
		CLAIM(an_adopted_parent_is_copied_and_has_no_span),
		CLAIM(ending_one_ends_those_inside_it),
		CLAIM(the_stack_has_a_bound),
	};

	return cmocka_run_group_tests(claims, NULL, NULL);
}
