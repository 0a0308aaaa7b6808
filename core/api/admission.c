/* SPDX-License-Identifier: MIT */
#include "api/admission.h"

#include "base/check.h"
#include "http/request.h"
#include "watch/metrics.h"

struct mono admission_deadline(const struct http_request *request, int timeout_ms)
{
	struct slice text =
		http_request_header(request, SLICE("x-envoy-expected-rq-timeout-ms"));
	unsigned long long expected_ms;

	if (__builtin_expect(text.size > 0, 0) && slice_to_uint(text, &expected_ms) &&
	    expected_ms > 0 && expected_ms < (unsigned long long)timeout_ms)
		timeout_ms = (int)expected_ms;
	return mono_after_ms(http_request_began(request), timeout_ms);
}

void admission_init(struct admission *admission, struct loop *loop, unsigned count_max,
		    struct series *gauge, loop_fn *look, void *context)
{
	*admission = (struct admission){ .loop = loop,
					 .count_max = count_max,
					 .look = look,
					 .context = context,
					 .gauge = gauge };
	list_init(&admission->waiting);
}

static void look_again(struct admission *admission);

static void on_again(void *context)
{
	struct admission *admission = context;

	look_again(admission);
	admission->look(admission->context);
}

static void look_again(struct admission *admission)
{
	timer_start(admission->loop, &admission->again,
		    mono_after_ms(loop_now(admission->loop), ADMISSION_LOOK_MS), on_again,
		    admission);
}

void admission_join(struct admission *admission, struct admission_wait *wait,
		    struct mono deadline, loop_fn *late, void *context)
{
	list_append(&admission->waiting, &wait->member);
	timer_start(admission->loop, &wait->late, deadline, late, context);
	series_add(admission->gauge, 1);
	if (admission->count++ == 0)
		look_again(admission);
}

void admission_leave(struct admission *admission, struct admission_wait *wait)
{
	check(admission->count > 0);
	list_remove(&wait->member);
	timer_stop(admission->loop, &wait->late);
	series_add(admission->gauge, -1);
	if (--admission->count > 0)
		return;
	timer_stop(admission->loop, &admission->again);
	loop_undefer(&admission->soon);
}

struct admission_wait *admission_first(const struct admission *admission)
{
	return admission->count
		       ? list_of(admission->waiting.next, struct admission_wait, member)
		       : NULL;
}

void admission_soon(struct admission *admission)
{
	if (__builtin_expect(admission->count > 0, 0))
		loop_defer(admission->loop, &admission->soon, admission->look,
			   admission->context);
}

void admission_check(const struct admission *admission)
{
	unsigned count = 0;

	for (const struct list *at = admission->waiting.next; at != &admission->waiting;
	     at = at->next) {
		check(timer_started(&list_of(at, struct admission_wait, member)->late));
		count++;
	}
	check(count == admission->count);
	check(count > 0 || !timer_started(&admission->again));
	check(count == 0 || timer_started(&admission->again));
}
