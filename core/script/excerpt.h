/* SPDX-License-Identifier: MIT */
/* excerpt.h -- where in a source a message points to, and the lines around it.
 *
 * LuaJIT puts a position before what it says, the host behind it:
 *
 *     scripts/hello/service.lua:12: attempt to index a nil value
 *     100 ms of CPU without waiting are spent at scripts/hello/service.lua:12
 *
 * The first NAME.lua:LINE of a text counts; a name with a space in it is found at the
 * start of a text only. Without the source there are no lines, but file and line are
 * known.
 */
#ifndef SCRIPT_EXCERPT_H
#define SCRIPT_EXCERPT_H

#include "base/buf.h"

struct json;
struct vm;

#define EXCERPT_AROUND 3 /* lines on each side */
#define EXCERPT_LINE_MAX 200 /* bytes shown of a line */

struct excerpt {
	struct slice file; /* empty: nothing is known; borrows the text it was found in */
	unsigned line;
	unsigned first; /* line number of lines[0] */
	size_t count; /* 0: the source is not there */
	struct slice
		lines[2 * EXCERPT_AROUND + 1]; /* borrow the source; without line ends */
};

/* Finds the position; false, with *excerpt zeroed, when text has none. No lines yet. */
bool excerpt_locate(struct slice text, struct excerpt *excerpt);

/* Adds the lines, from the text of the whole source. */
void excerpt_fill(struct excerpt *excerpt, struct slice source);

/* Both, with the source that the VM was made from (loader_source). */
bool excerpt_find(const struct vm *vm, struct slice text, struct excerpt *excerpt);

/* Writes the members file, line and, when there are lines, excerpt: [{line, text}...] of
 * an object that is open. */
void excerpt_write(const struct excerpt *excerpt, struct json *json);

/* For consoles: file:line, and below it the numbered lines, ">" before the one meant.
 * Nothing when nothing is known. */
void excerpt_print(const struct excerpt *excerpt, struct buf *out);

/* --- tracebacks ------------------------------------------------------------------- */

/* Cuts the next line off a traceback, without blanks around it and without the heading;
 * false when none is left. */
bool traceback_next(struct slice *rest, struct slice *line);

/* Writes it as an array of lines. */
void traceback_write(struct slice traceback, struct json *json);

#endif
