/* SPDX-License-Identifier: MIT */
/* members.h -- looking into modules from outside: for tools, not for scripts.
 *
 * A module is named as in require; "_G" stands for the globals that scripts see, and
 * "_G.string" for the table in the global `string`. Read-only views are seen through.
 */
#ifndef SCRIPT_MEMBERS_H
#define SCRIPT_MEMBERS_H

#include "base/fault.h"

struct vm;

#define MEMBERS_GLOBALS "_G"

/* Requires the module, which runs it unless it has run, under the VM's budgets. */
bool members_load(struct vm *vm, const char *module, struct fault *why);

enum members_answer { MEMBERS_no, MEMBERS_yes, MEMBERS_unclear };

/* Whether the module, loaded if need be, has a member. Unclear: it cannot be loaded, is
 * no table, or makes up its members when they are asked for. */
enum members_answer members_has(struct vm *vm, const char *module, struct slice name);

/* Tells the names of the members that are texts, unsorted, and the type of each. Borrowed
 * during the call. */
typedef void members_fn(void *context, struct slice name, const char *type);
void members_each(struct vm *vm, const char *module, members_fn *tell, void *context);

#endif
