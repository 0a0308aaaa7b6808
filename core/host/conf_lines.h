/* SPDX-License-Identifier: MIT */
/* conf_lines.h -- on which line of conf/<lab>.lua a key is written.
 *
 * The text is taken to its words, not run: a key is a NAME = or ["NAME"] = inside braces,
 * and is called by the keys around it, "services.orders.port". What a file puts together
 * in other ways has no line here.
 */
#ifndef HOST_CONF_LINES_H
#define HOST_CONF_LINES_H

#include "base/slice.h"

struct conf_lines;

/* Copies what it keeps. */
struct conf_lines *conf_lines_read(struct slice text);
void conf_lines_destroy(struct conf_lines *lines); /* NULL is allowed */

/* 0: no such key is written. */
unsigned conf_lines_of(const struct conf_lines *lines, const char *key);

/* In the order of the text; false at the end. Borrowed. */
bool conf_lines_at(const struct conf_lines *lines, size_t index, const char **key,
		   unsigned *line);

#endif
