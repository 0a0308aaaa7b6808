/* SPDX-License-Identifier: MIT */
#include "store/amqp_window.h"

#include "base/check.h"

void amqp_window_init(struct amqp_window *window)
{
	for (unsigned i = 0; i < AMQP_WINDOW; i++)
		window->sent[i] = NULL;
	window->first = window->next = 1;
}

void amqp_window_put(struct amqp_window *window, void *sent)
{
	check(!amqp_window_full(window) && sent);
	window->sent[window->next++ % AMQP_WINDOW] = sent;
}

static void *take_at(struct amqp_window *window, uint64_t tag)
{
	void *sent = window->sent[tag % AMQP_WINDOW];

	window->sent[tag % AMQP_WINDOW] = NULL;
	while (!amqp_window_empty(window) && !window->sent[window->first % AMQP_WINDOW])
		window->first++;
	return sent;
}

void *amqp_window_take(struct amqp_window *window)
{
	return amqp_window_empty(window) ? NULL : take_at(window, window->first);
}

void *amqp_window_confirm(struct amqp_window *window, uint64_t tag, bool multiple)
{
	if (tag < window->first || amqp_window_empty(window))
		return NULL;
	if (multiple)
		return take_at(window, window->first);
	return tag < window->next ? take_at(window, tag) : NULL;
}
