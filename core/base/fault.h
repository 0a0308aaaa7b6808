/* SPDX-License-Identifier: MIT */
/* fault.h -- one vocabulary of failure, from C to the dashboard.
 *
 * A failing function takes `struct fault *why` last and returns false (or NULL). The
 * kinds stand in fault.def; the same word is the label of a series, error.type of a span,
 * "kind" of a log line and of a problem document. A failure is logged once, where it is
 * handled.
 */
#ifndef BASE_FAULT_H
#define BASE_FAULT_H

#include "base/slice.h"

#include <stdarg.h>

enum fault_kind {
	FAULT_none,
#define FAULT(name, status, title, meaning) FAULT_##name,
#include "base/fault.def"
#undef FAULT
	FAULT_kinds
};

struct fault {
	enum fault_kind kind;
	int status; /* HTTP status where it is not the kind's own; else 0 */
	char detail[240]; /* for people; no secrets; terminated */
};

/* Fills why (which may be NULL) and returns false, so that `return fault_set(...)` reads
 * well. */
bool fault_set(struct fault *why, enum fault_kind kind, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/* The same with an HTTP status of its own, such as 413 for bad_input. */
bool fault_set_status(struct fault *why, enum fault_kind kind, int status,
		      const char *format, ...) __attribute__((format(printf, 4, 5)));

/* "bad_input"; a terminated literal. */
const char *fault_name(enum fault_kind kind);
const char *fault_title(enum fault_kind kind);
const char *fault_meaning(enum fault_kind kind); /* a sentence */

/* FAULT_none when the name is not one. */
enum fault_kind fault_kind_of(struct slice name);

/* The HTTP status this failure answers with. */
int fault_status(const struct fault *why);

#endif
