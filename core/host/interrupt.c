/* SPDX-License-Identifier: MIT */
#include "host/interrupt.h"

#include "base/check.h"
#include "loop/loop.h"

#include <stdint.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

/* A signal handler is given no context: the one thing here that has to be global. */
static struct interrupt *volatile current;

static void on_signal(int signal)
{
	struct interrupt *interrupt = current;
	uint64_t one = 1;

	if (!interrupt)
		return;
	if (gettid() != interrupt->thread) { /* one of a library's: not there */
		tgkill(getpid(), interrupt->thread, signal);
		return;
	}
	if (interrupt->came)
		_exit(INTERRUPT_STATUS);
	interrupt->came = 1;
	if (interrupt->at_once)
		interrupt->at_once(interrupt->context);
	if (write(interrupt->fd, &one, sizeof(one)) < 0)
		_exit(INTERRUPT_STATUS);
}

static void on_event(void *context, bool readable, bool writable)
{
	struct interrupt *interrupt = context;
	uint64_t count;

	if (read(interrupt->fd, &count, sizeof(count)) > 0)
		interrupt->seen(interrupt->context);
}

void interrupt_init(struct interrupt *interrupt, struct loop *loop,
		    void (*seen)(void *context), void *context)
{
	struct sigaction action = { .sa_handler = on_signal };

	check(!current);
	*interrupt = (struct interrupt){ .seen = seen, .context = context };
	interrupt->thread = gettid();
	interrupt->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	check(interrupt->fd >= 0);
	interrupt->watch = loop_fd_create(loop, interrupt->fd, on_event, interrupt);
	loop_fd_want(interrupt->watch, true, false);
	current = interrupt;
	check(sigaction(SIGINT, &action, &interrupt->before) == 0);
}

void interrupt_finish(struct interrupt *interrupt)
{
	if (current != interrupt)
		return;
	check(sigaction(SIGINT, &interrupt->before, NULL) == 0);
	current = NULL;
	loop_fd_destroy(interrupt->watch);
	close(interrupt->fd);
}

void interrupt_at_once(struct interrupt *interrupt, void (*at_once)(void *context))
{
	interrupt->at_once = at_once;
}

bool interrupt_came(const struct interrupt *interrupt)
{
	return interrupt->came;
}

void interrupt_rearm(struct interrupt *interrupt)
{
	interrupt->came = 0;
}
