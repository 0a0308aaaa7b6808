/* SPDX-License-Identifier: MIT */
/* loader.h -- `require` for scripts, and loading a file as a chunk.
 *
 * require "x" finds lib/x.lua, then x.lua in the service's folder; require "native.x"
 * finds a module that C registered. Names are [a-z0-9_] with dots between; source text
 * only, no bytecode. A module runs once per VM; requiring it while it loads is an error
 * that names it. A module that fails to load may be required again.
 */
#ifndef SCRIPT_LOADER_H
#define SCRIPT_LOADER_H

#include "base/fault.h"

struct lua_State;

struct vm;

#define LOADER_SOURCE_MAX (1u << 20) /* bytes of one file */

/* Makes `require` a builtin. Protected, in host mode. */
void loader_open(struct lua_State *L);

/* Takes the module on top of the stack and gives it this name (`native.x`). */
void loader_provide(struct lua_State *L, const char *name);

/* Pushes the file as a function in the sandbox's environment; raises with file and line
 * when it cannot. Reads it at once: for start-up, and for the first use of a module. */
void loader_push_file(struct lua_State *L, const char *path);

#endif
