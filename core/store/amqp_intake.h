/* SPDX-License-Identifier: MIT */
/* amqp_intake.h -- a delivery put together from the broker's frames.
 *
 * The broker sends method, header and as many body frames as it likes; they may come with
 * long pauses, so each is taken as it comes and nobody waits for the next. Everything is
 * copied into the delivery's arena: frames do not outlive the reading of the next one.
 */
#ifndef STORE_AMQP_INTAKE_H
#define STORE_AMQP_INTAKE_H

#include "store/amqp_consumer.h"

struct amqp_basic_deliver_t_;
struct amqp_frame_t_;

void amqp_intake_method(struct amqp_in *in, const struct amqp_basic_deliver_t_ *deliver,
			struct slice queue);

/* A header or body frame. True: the delivery is complete. */
bool amqp_intake_frame(struct amqp_in *in, const struct amqp_frame_t_ *frame);

#endif
