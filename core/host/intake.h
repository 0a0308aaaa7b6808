/* SPDX-License-Identifier: MIT */
/* intake.h -- which queues a service consumes, from one generation to the next.
 *
 * RabbitMQ knows the process, not its generations: a queue stays consumed as long as each
 * generation consumes it with the same routing keys and prefetch, and every message goes
 * to the generation that is current when it arrives on its worker.
 */
#ifndef HOST_INTAKE_H
#define HOST_INTAKE_H

#include "base/fault.h"

struct amqp;
struct intake;
struct service;
struct worker_service;

/* Borrows; one slot per worker. amqp NULL: nothing can be consumed. */
struct intake *intake_create(struct amqp *amqp, struct worker_service *const *workers,
			     size_t count);

/* After amqp is destroyed: deliveries name it. NULL is allowed. */
void intake_destroy(struct intake *intake);

/* Whether the service could be served: bad_input when it consumes without a broker. */
bool intake_possible(const struct intake *intake, const struct service *service,
		     struct fault *why);

/* Consumes what this service does, and nothing else, when all workers have it. Copies.
 * One thread at a time. */
void intake_follow(struct intake *intake, const struct service *service);

#endif
