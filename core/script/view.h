/* SPDX-License-Identifier: MIT */
/* view.h -- read-only views: what a script is given of tables that are not its own.
 *
 * A view is a userdata without content that shows a table: members, length, pairs and
 * ipairs. The table itself cannot be reached through it, so rawset, next,
 * table.insert and their kin find nothing to work on; for `type` it is a userdata.
 * Tables inside are shown as views too. The view of an object shows the methods of
 * its metatable, and calls them with the view: those that only read go on working;
 * other metamethods are not shown.
 */
#ifndef SCRIPT_VIEW_H
#define SCRIPT_VIEW_H

#include <stdbool.h>

struct lua_State;

#define VIEW_DEPTH_MAX 32 /* tables inside one another */

/* Replaces the table on top of the stack by a view of it, and inside it every table, at
 * any depth, by its view. Raises when a key is a table: it would be given away. */
void view_make(struct lua_State *L);

/* Pushes the table that the view at index shows; false and nothing when it is no
 * view. For the host. */
bool view_push_table(struct lua_State *L, int index);

/* view_pairs, view_ipairs: the builtin, on top of the stack, is replaced by a
 * function that takes views too and does the same for tables. */
void view_pairs(struct lua_State *L);
void view_ipairs(struct lua_State *L);

#endif
