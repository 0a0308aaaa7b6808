/* SPDX-License-Identifier: MIT */
/* test_capture.h -- what one test case has made the host record: logs, and spans that
 * ended.
 *
 * It is the reader of the hub and looks on at the tracer, all on the thread that runs the
 * tests. What has come since the last begin is kept, up to TEST_CAPTURE_MAX of each; what
 * comes then is forgotten.
 */
#ifndef API_TEST_CAPTURE_H
#define API_TEST_CAPTURE_H

#include "base/slice.h"

#define TEST_CAPTURE_MAX 10000

struct buf;
struct log_hub;
struct lua_State;
struct test_capture;
struct tracer;

/* Borrows both. */
struct test_capture *test_capture_create(struct log_hub *logs, struct tracer *tracer);
void test_capture_destroy(struct test_capture *capture); /* NULL is allowed */

/* For the bindings of this VM, which ends before the capture: test_capture_of gives it,
 * or NULL. In host mode, protected. */
void test_capture_install(struct lua_State *L, struct test_capture *capture);
struct test_capture *test_capture_of(struct lua_State *L);

/* A case begins: what was kept is forgotten. */
void test_capture_begin(struct test_capture *capture);

/* Appends the logs, one JSON object a line. */
void test_capture_format_logs(struct test_capture *capture, struct buf *out);

/* Push an array: {severity=, message=, attributes=, trace_id=, span_id=} of each record;
 * {name=, kind=, trace_id=, span_id=, parent_span_id=, failed=, error_type=, attributes=}
 * of each span, in the order in which they ended. May raise. */
void test_capture_push_logs(struct lua_State *L, struct test_capture *capture);
void test_capture_push_spans(struct lua_State *L, struct test_capture *capture);

#endif
