/* SPDX-License-Identifier: MIT */
/* mailbox.h -- pointers from any thread to one thread that waits on a descriptor.
 *
 * Ownership travels with the message. The receiver polls the descriptor (an eventfd),
 * then takes all that has come; messages of one sender keep their order. Also the way to
 * a thread that has no event loop, such as the AMQP ones.
 */
#ifndef LOOP_MAILBOX_H
#define LOOP_MAILBOX_H

#include "base/list.h"

struct mailbox;

struct mailbox *mailbox_create(void);

/* NULL is allowed. What is still inside is the caller's to take first. */
void mailbox_destroy(struct mailbox *mailbox);

/* Any thread; takes message (embedded in whatever is sent). */
void mailbox_send(struct mailbox *mailbox, struct list *message);

/* Any thread, signal handlers too: makes the descriptor readable without a message. */
void mailbox_wake(struct mailbox *mailbox);

/* Receiver: readable when there is something. */
int mailbox_fd(const struct mailbox *mailbox);

/* Receiver: moves everything to the end of `into` (an initialised list) and clears the
 * descriptor. */
void mailbox_take(struct mailbox *mailbox, struct list *into);

#endif
