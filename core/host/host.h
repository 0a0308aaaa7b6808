/* SPDX-License-Identifier: MIT */
/* host.h -- one process that serves one service: its threads, what they share, how it
 * ends.
 *
 *     starting -> serving --SIGTERM, SIGINT--> draining
 *                                                 \--idle or grace_ms--> flushing -> gone
 *
 * Draining: /ready says so, listeners close, jobs stop, consumers are cancelled, tasks
 * under way finish. Flushing: AMQP confirms, spans and logs, each within a bound.
 */
#ifndef HOST_HOST_H
#define HOST_HOST_H

#include "base/fault.h"

struct conf;

/* Serves until a signal ends it. False: it could not start. */
bool host_serve(const struct conf *conf, struct fault *why);

#endif
