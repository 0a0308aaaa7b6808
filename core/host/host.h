/* SPDX-License-Identifier: MIT */
/* host.h -- one process that serves one service: its threads, what they share, how it
 * ends.
 *
 *     starting -> serving --SIGTERM--> unready --unready_ms, or a second signal--.
 *                         \--SIGINT---------------------------------------> draining
 *                                                 \--idle or grace_ms--> flushing -> gone
 *
 * Unready: /ready says that it drains and answers close their connections; all else goes
 * on as before, so that who looks at /ready can send its requests elsewhere. Draining:
 * who waits to be accepted still is, listeners close, jobs stop, consumers are cancelled,
 * tasks under way finish; the port of operators closes after them. Flushing: AMQP
 * confirms, spans and logs, each within a bound.
 */
#ifndef HOST_HOST_H
#define HOST_HOST_H

#include "base/fault.h"

struct conf;

/* Serves until a signal ends it. False: it could not start. */
bool host_serve(const struct conf *conf, struct fault *why);

#endif
