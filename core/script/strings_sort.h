/* SPDX-License-Identifier: MIT */
/* strings_sort.h -- table.sort with a bound on its time.
 *
 * The library's is a quicksort: some orders of the elements take it n * n steps, and
 * while it compares numbers or texts nothing ends it. So those are sorted here; for
 * everything else a function of the script compares, which a budget can end.
 */
#ifndef SCRIPT_STRINGS_SORT_H
#define SCRIPT_STRINGS_SORT_H

struct lua_State;

/* sort(table, [less]); upvalue: the library's. */
int strings_sort(struct lua_State *L);

#endif
