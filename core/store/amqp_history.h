/* SPDX-License-Identifier: MIT */
/* amqp_history.h -- the newest death of a message, as the broker wrote it into its header
 * x-death when it moved it to a dead-letter queue.
 */
#ifndef STORE_AMQP_HISTORY_H
#define STORE_AMQP_HISTORY_H

#include "base/clock.h"

struct amqp_table_t_;

struct amqp_death { /* borrowed from the headers; what is not there is empty */
	struct slice queue; /* that it was in */
	struct slice reason; /* "rejected", "delivery_limit" ... */
	struct slice exchange; /* these two: as it came to the queue the first time */
	struct slice routing_key;
	int64_t count; /* deaths there for this reason */
	struct wall time; /* of the first of them, in whole seconds */
};

/* False: it has not died yet. */
bool amqp_death_read(const struct amqp_table_t_ *headers, struct amqp_death *death);

#endif
