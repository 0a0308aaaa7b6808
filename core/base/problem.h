/* SPDX-License-Identifier: MIT */
/* problem.h -- the members that every problem document has (RFC 9457), for all who answer
 * with one: type, title, status, kind, detail, trace_id. */
#ifndef BASE_PROBLEM_H
#define BASE_PROBLEM_H

#include "base/fault.h"
#include "base/json.h"

/* Opens the object; the caller may add members and closes it. trace_id may be empty. */
void problem_open(struct json *json, const struct fault *why, struct slice trace_id);

#endif
