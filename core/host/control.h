/* SPDX-License-Identifier: MIT */
/* control.h -- how `orrery reload` reaches a running service on the same machine.
 *
 * A service listens on an abstract Unix socket, "orrery/<service file>/<pid>", and takes
 * one word from a peer of the same user, or root: "reload". It answers when the attempt
 * is over, with "ok <text>" or "failed <text>", and hangs up. Connections are bounded in
 * number and time.
 */
#ifndef HOST_CONTROL_H
#define HOST_CONTROL_H

#include "base/buf.h"
#include "base/fault.h"

struct control;
struct loop;

#define CONTROL_WAITING_MAX 8

/* asked is called once for each request. control_begin: an attempt is about to read the
 * source, for all that wait; control_answer is theirs, and nobody's who has come since.
 */
struct control *control_create(struct loop *loop, const char *service_file,
			       void (*asked)(void *context), void *context);
void control_begin(struct control *control); /* both: NULL is allowed */
void control_answer(struct control *control, bool well, struct slice text);
void control_destroy(struct control *control); /* NULL is allowed */

/* For the command: asks every running service made from this file, one after the other,
 * or only the one with this pid (0: all); what each answers goes to out. Gives how many
 * were asked; *failed counts those that did not load. Blocks for at most timeout_ms
 * each. */
size_t control_reload(const char *service_file, long pid, int timeout_ms, struct buf *out,
		      size_t *failed);

#endif
