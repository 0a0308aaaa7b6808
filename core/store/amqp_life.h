/* SPDX-License-Identifier: MIT */
/* amqp_life.h -- whether a struct amqp still lives, for messages on their way to a loop.
 *
 * Mail may reach a loop after amqp_destroy, when the loop is being destroyed itself. It
 * then finds `over`, calls nobody and frees itself. The last one to let go frees the
 * life.
 */
#ifndef STORE_AMQP_LIFE_H
#define STORE_AMQP_LIFE_H

#include <stdatomic.h>
#include <stdlib.h>

struct amqp_life {
	atomic_uint holders;
	atomic_bool over;
};

static inline struct amqp_life *amqp_life_hold(struct amqp_life *life)
{
	atomic_fetch_add(&life->holders, 1);
	return life;
}

static inline void amqp_life_drop(struct amqp_life *life)
{
	if (life && atomic_fetch_sub(&life->holders, 1) == 1)
		free(life);
}

#endif
