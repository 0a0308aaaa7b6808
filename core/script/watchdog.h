/* SPDX-License-Identifier: MIT */
/* watchdog.h -- ends scripts that do not wait: CPU time of one thread, measured by its
 * own clock.
 *
 * A timer on the thread's CPU clock sends the thread a signal every WATCHDOG_TICK_MS of
 * CPU time: a thread that sleeps gets none. The signal handler sees whether the same
 * entry into Lua still runs; when its ticks are used up it sets a hook, which raises at
 * the next Lua instruction. Entering and leaving costs two stores.
 *
 * Where even that does not help (a C function that does not come back), the process ends,
 * for its supervisor to start it again: after WATCHDOG_LAST_MS more of CPU time, from the
 * signal handler; or when the thread stands still inside Lua for as long, seen by
 * whoever calls watchdog_stuck once a second. Script and line go to standard error first.
 */
#ifndef SCRIPT_WATCHDOG_H
#define SCRIPT_WATCHDOG_H

#include <stdbool.h>

struct lua_State;
struct lua_Debug;
struct watchdog;

#define WATCHDOG_TICK_MS 10
#define WATCHDOG_LAST_MS 5000

/* For the calling thread, which must also destroy it. Borrows name ("worker-0"). */
struct watchdog *watchdog_create(const char *name);
void watchdog_destroy(struct watchdog *watchdog); /* NULL is allowed */

/* Around running Lua code: cpu_ms may pass until hook is set on L's VM; 0: no limit. Not
 * inside one another. */
typedef void watchdog_hook_fn(struct lua_State *L, struct lua_Debug *where);
void watchdog_enter(struct watchdog *watchdog, struct lua_State *L, int cpu_ms,
		    watchdog_hook_fn *hook);
void watchdog_leave(struct watchdog *watchdog);

/* On its thread, between the two: whether the hook has been set. */
bool watchdog_due(const struct watchdog *watchdog);

/* Any thread, about once a second: ends the process when the watched thread has been
 * inside the same entry for WATCHDOG_LAST_MS / 1000 calls plus the CPU budget; never
 * where CPU has no limit. */
void watchdog_stuck(struct watchdog *watchdog);

#endif
