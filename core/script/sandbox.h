/* SPDX-License-Identifier: MIT */
/* sandbox.h -- what a script sees: an allow list, read-only.
 *
 * Chunks run in an environment that shows the allowed builtins and refuses
 * assignment: an accidental global is an error, an unknown one too. The tables of
 * builtins (string, table, math, bit, coroutine) are views (view.h), and so are
 * native modules and those of lib/. Withheld, because they reach outside or cannot be
 * bounded: io, os, debug, package, ffi, jit, load and its kin, getfenv, setfenv,
 * collectgarbage, newproxy, print, _G, string.dump, math.random.
 *
 * tostring and "%p" show addresses. Nobody can use one here: there is no pointer
 * arithmetic, no bytecode and no ffi to go with it.
 */
#ifndef SCRIPT_SANDBOX_H
#define SCRIPT_SANDBOX_H

struct lua_State;

/* Opens the libraries, takes away what is not allowed, and leaves the environment in the
 * registry. In host mode, protected. */
void sandbox_open(struct lua_State *L);

/* Pushes the environment for chunks. */
void sandbox_push_environment(struct lua_State *L);
#endif
