/* SPDX-License-Identifier: MIT */
/* gate_read.h -- what a script declares of a gateway, as a plan.
 *
 * lib/gate.lua leaves plain tables in the service's member `gate`:
 *
 *   upstreams  {{name, address, balance, resolve_ms, ..., health, breaker, retry}...}
 *   limits     {{name, by, header?, requests, per_s, burst}...}
 *   routes     {{prefix, upstream, limits, before?, timeout_ms, ...}...}
 *   headers    {name = value}
 *   cors       {origins, methods, headers, expose, credentials, max_age_s}, or none
 *
 * Upstreams and limits are named by their names. Items have `at`, the place they were
 * declared at. Defaults are lib/gate.lua's; here every member is to be there.
 */
#ifndef API_GATE_READ_H
#define API_GATE_READ_H

#include "base/slice.h"

struct lua_State;

struct gate_plan;

/* Fills plan, which is zeroed, from the table at index. Protected, in host mode: raises
 * "<place>: <what is wrong>", with chunk as the place of what has none; plan is then to
 * be destroyed. Reads raw members only. A route's `before` becomes its number: a
 * reference of the registry. */
void gate_read(struct lua_State *L, int index, struct slice chunk,
	       struct gate_plan *plan);

#endif
