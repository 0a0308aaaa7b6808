/* SPDX-License-Identifier: MIT */
/* findings.h -- what a look at the sources found, printed as a compiler would:
 *
 *     scripts/oms/orders/flow.lua:12: unknown global 'totl', did you mean 'total'?
 *       return totl
 *
 * A file is shown by its path below the root. The same finding twice is one.
 */
#ifndef HOST_FINDINGS_H
#define HOST_FINDINGS_H

#include "base/fault.h"

#include <stdio.h>

struct findings;

/* Copies. root: without a slash at its end. */
struct findings *findings_create(const char *root);
void findings_destroy(struct findings *findings);

/* Copies. path as the program opens it; line 0: the file as a whole. */
void findings_add(struct findings *findings, const char *path, unsigned line,
		  const char *format, ...) __attribute__((format(printf, 4, 5)));

/* What running a file raised: at the place that the message begins with, else at the
 * first place of the traceback that is no module of lib/, else at the file itself. */
void findings_add_fault(struct findings *findings, const char *path,
			const struct fault *why, struct slice traceback);

size_t findings_count(const struct findings *findings);

/* Sorted by file and line. */
void findings_print(struct findings *findings, FILE *out);

/* Appends the whole file to what the buffer holds; false with why when it cannot be read.
 */
struct buf;
bool findings_read(const char *path, struct buf *text, struct fault *why);

#endif
