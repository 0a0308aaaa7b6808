/* SPDX-License-Identifier: MIT */
/* loader.h -- `require` for scripts, and loading a file as a chunk.
 *
 * require "x" finds lib/x.lua, then x.lua in the service's folder; require "native.x"
 * finds a module that C registered, and nothing else. Files come from the VM's
 * sources (sources.h). Names are [a-z0-9_] with dots between; source text only, no
 * bytecode.
 *
 * A module runs once per VM; requiring it while it loads is an error that names it.
 * One that fails to load may be required again. A table that a module of lib/ returns
 * is given as a view (view.h), also to other modules of lib/; a service's own module
 * gives its table itself.
 */
#ifndef SCRIPT_LOADER_H
#define SCRIPT_LOADER_H

#include "base/fault.h"

struct lua_State;

struct vm;

/* Makes `require` a builtin. Protected, in host mode. */
void loader_open(struct lua_State *L);

/* Takes the module table on top of the stack and gives it, as a view, this name
 * (`native.x`). */
void loader_provide(struct lua_State *L, const char *name);

/* Pushes the file as a function in the sandbox's environment; raises with file and line
 * when it cannot. */
void loader_push_file(struct lua_State *L, const char *path);

/* The text of a chunk ("scripts/hello/service.lua") that the VM has loaded or could load;
 * else nothing. Borrowed for the life of the VM. */
struct slice loader_source(const struct vm *vm, struct slice chunk);

#endif
