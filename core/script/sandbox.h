/* SPDX-License-Identifier: MIT */
/* sandbox.h -- what a script sees: an allow list, read-only.
 *
 * Chunks run in an environment that shows the allowed builtins and refuses assignment: an
 * accidental global is an error, an unknown one too. The tables of builtins (string,
 * table, math, bit) are proxies that refuse writing, rawset included. Withheld, because
 * they reach outside or cannot be bounded: io, os, debug, package, ffi, jit, coroutine,
 * load and its kin, getfenv, setfenv, collectgarbage, newproxy, string.dump.
 */
#ifndef SCRIPT_SANDBOX_H
#define SCRIPT_SANDBOX_H

struct lua_State;

/* Opens the libraries, takes away what is not allowed, and leaves the environment in the
 * registry. In host mode, protected. */
void sandbox_open(struct lua_State *L);

/* Pushes the environment for chunks. */
void sandbox_push_environment(struct lua_State *L);

/* Replaces the table on top of the stack by a read-only view of it. */
void sandbox_read_only(struct lua_State *L);

#endif
