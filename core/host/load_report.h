/* SPDX-License-Identifier: MIT */
/* load_report.h -- how the newest attempt to load a service went, for whoever asks: the
 * log, the console, /ready, orrery reload. The builder's; workers get its text.
 */
#ifndef HOST_LOAD_REPORT_H
#define HOST_LOAD_REPORT_H

#include "base/buf.h"
#include "base/fault.h"

#include <stdint.h>

struct json;
struct log;
struct load_report;
struct sources;

struct load_report *load_report_create(void);
void load_report_destroy(struct load_report *report); /* NULL is allowed */

/* A generation serves from now on. */
void load_report_success(struct load_report *report, uint32_t number);

/* The same, from the sources that served before: what is known of newer ones stays. */
void load_report_serves(struct load_report *report, uint32_t number);

/* The sources did not load: they stay as they are for the excerpt. Copies. */
void load_report_failure(struct load_report *report, const struct fault *why,
			 struct slice traceback, const struct sources *sources);

/* Writes {"number", "loaded_at"[, "error": {detail, file, line, excerpt, traceback}]} as
 * a value. */
void load_report_write(const struct load_report *report, struct json *json);

/* One ERROR line with file and line, excerpt and traceback, if the newest attempt failed.
 */
void load_report_log(const struct load_report *report, struct log *log);

/* The same for people: several lines, or nothing. */
void load_report_print(const struct load_report *report, struct buf *out);

#endif
