/* SPDX-License-Identifier: MIT */
/* worker_ports.h -- where one worker listens: the port of clients, and that of operators
 * where the setting admin_port sets it apart.
 *
 *     zeroed --listen--> listening --quiesce--> --drain--> drained --end--> --close-->
 *
 * The port of operators is open until the worker has nothing else to do: until then
 * /ready says that it drains. It has no TLS, and room of its own: a full service answers
 * it.
 */
#ifndef HOST_WORKER_PORTS_H
#define HOST_WORKER_PORTS_H

#include "http/server.h"

struct conf;

struct worker_ports {
	struct http_server *clients;
	struct http_server *operators; /* NULL: not apart */
};

struct worker_ports_config {
	const struct conf *conf; /* borrowed while it listens */
	struct loop *loop; /* borrowed until it is closed */
	bool first; /* of the process: it notices ports that others have */
	http_handler_fn *serve;
	http_handler_fn *serve_operators; /* where they are apart */
	http_refused_fn *refused;
	void *context; /* of all three */
};

/* Binds port (0: the kernel chooses) and admin_port. Gives the port of clients that was
 * bound; 0 with why, and then ports are to be closed, too. */
unsigned worker_ports_listen(struct worker_ports *ports,
			     const struct worker_ports_config *config, unsigned port,
			     struct fault *why);

void worker_ports_quiesce(struct worker_ports *ports); /* see http/server.h: both */
void worker_ports_drain(struct worker_ports *ports); /* the port of clients */

/* The port of operators, too. Gives whether nobody is connected any more. */
bool worker_ports_end(struct worker_ports *ports);

/* Of clients; of both. */
unsigned worker_ports_clients(const struct worker_ports *ports);
unsigned worker_ports_connections(const struct worker_ports *ports);

void worker_ports_close(struct worker_ports *ports);

#endif
