/* SPDX-License-Identifier: MIT */
/* amqp_window.h -- what was published on a channel and is not confirmed yet, by delivery
 * tag.
 *
 * The broker numbers what a channel publishes 1, 2, 3 ... and confirms in any order,
 * often many at a time.
 *
 * Invariants
 *   - first <= tag < next for everything inside; next - first <= AMQP_WINDOW.
 *   - what stands at first is not confirmed, unless the window is empty.
 */
#ifndef STORE_AMQP_WINDOW_H
#define STORE_AMQP_WINDOW_H

#include <stdbool.h>
#include <stdint.h>

#define AMQP_WINDOW 1024 /* a power of two */

struct amqp_window {
	void *sent[AMQP_WINDOW]; /* by tag; NULL: confirmed */
	uint64_t first;
	uint64_t next;
};

/* Empties it: a channel's life begins. */
void amqp_window_init(struct amqp_window *window);

static inline bool amqp_window_full(const struct amqp_window *window)
{
	return window->next - window->first == AMQP_WINDOW;
}

static inline bool amqp_window_empty(const struct amqp_window *window)
{
	return window->next == window->first;
}

/* Takes sent, which gets the next tag. Not when full. */
void amqp_window_put(struct amqp_window *window, void *sent);

/* Gives the oldest, NULL when empty. */
void *amqp_window_take(struct amqp_window *window);

/* A confirm. Gives what it was for, one at a time: call it until NULL. Tags that are
 * unknown or confirmed already give NULL. multiple: everything up to tag. */
void *amqp_window_confirm(struct amqp_window *window, uint64_t tag, bool multiple);

#endif
