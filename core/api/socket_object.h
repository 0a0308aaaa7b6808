/* SPDX-License-Identifier: MIT */
/* socket_object.h -- a WebSocket connection as scripts have it: a table {id=, channels=,
 * state=} with the methods send and close.
 *
 * The object holds no pointer to its connection, only the id by which the hub finds it:
 * one that a script has kept goes on working when the connection has moved to another
 * generation, and reaches nobody when it is gone.
 *
 * An object is moved to another VM as JSON; what JSON cannot say does not come along.
 */
#ifndef API_SOCKET_OBJECT_H
#define API_SOCKET_OBJECT_H

#include "base/buf.h"
#include "base/fault.h"

#include <stdint.h>

struct lua_State;

struct socket_hub;
struct vm;

struct socket_objects { /* those of one VM */
	struct vm *vm;
	struct socket_hub *hub;
	int methods; /* registry reference of their metatable */
	struct buf scratch;
};

/* Borrows both. The VM's methods point to objects, so the VM is destroyed first. */
void socket_objects_init(struct socket_objects *objects, struct vm *vm,
			 struct socket_hub *hub);
void socket_objects_finish(struct socket_objects *objects);

/* The members `channels` and `state` of the table at index 1, no metamethods. Protected;
 * gives a registry reference. */
int socket_object_make(struct lua_State *L, const struct socket_objects *objects,
		       uint64_t id);

/* Releases the object and gives its like in the other VM. Then why->kind is FAULT_none,
 * or the state is lost, an empty table now, and why says what for. */
int socket_object_move(const struct socket_objects *from, int object,
		       const struct socket_objects *to, uint64_t id, struct fault *why);

/* LUA_NOREF is allowed. */
void socket_object_release(const struct socket_objects *objects, int object);

#endif
