/* SPDX-License-Identifier: MIT */
/* strings.h -- the functions of `string` and `table` that can run long, bounded.
 *
 * A hook stops Lua code only; these run in C. So the pattern functions (find, match,
 * gmatch, gsub) are our own, on pattern.h, and look at the budget as they go; gsub, rep,
 * format and concat refuse results above STRINGS_RESULT_MAX, sort refuses more than
 * STRINGS_SORT_MAX elements. What they take and give is that of the Lua 5.1 reference
 * manual.
 */
#ifndef SCRIPT_STRINGS_H
#define SCRIPT_STRINGS_H

#define STRINGS_RESULT_MAX (8u << 20) /* bytes */
#define STRINGS_SORT_MAX 100000 /* elements */

struct lua_State;

/* Replaces them in the library's own tables. Protected, in host mode. */
void strings_open(struct lua_State *L);

#endif
