/* SPDX-License-Identifier: MIT */
/* interrupt.h -- Ctrl-C as an event of a loop, for commands.
 *
 *     armed --SIGINT--> came --loop calls came_fn--> seen --interrupt_rearm--> armed
 *
 * A second SIGINT before interrupt_rearm ends the process at once: whatever should have
 * seen the first one does not come back. There is one interrupt at a time, for signals
 * belong to the process.
 */
#ifndef HOST_INTERRUPT_H
#define HOST_INTERRUPT_H

#include <signal.h>
#include <stdbool.h>
#include <sys/types.h>

struct loop;
struct loop_fd;

#define INTERRUPT_STATUS 130 /* what shells show for a program ended by SIGINT */

struct interrupt {
	pid_t thread; /* the loop's, on which the handler works */
	int fd; /* of an event, from the handler to the loop */
	struct loop_fd *watch;
	volatile sig_atomic_t came;
	void (*seen)(void *context);
	void (*at_once)(void *context);
	void *context;
	struct sigaction before;
};

/* Catches SIGINT until interrupt_finish. seen runs on the loop. */
void interrupt_init(struct interrupt *interrupt, struct loop *loop,
		    void (*seen)(void *context), void *context);
void interrupt_finish(struct interrupt *interrupt);

/* Called inside the signal handler, too, with the same context: for what cannot wait for
 * the loop. NULL: nothing. */
void interrupt_at_once(struct interrupt *interrupt, void (*at_once)(void *context));

bool interrupt_came(const struct interrupt *interrupt);
void interrupt_rearm(struct interrupt *interrupt);

#endif
