/* SPDX-License-Identifier: MIT */
/* observer.h -- what one thread records into: its log, its meter, its tracer.
 *
 * Each of the three is used by that thread only; nothing on the recording path is shared.
 * Whoever starts the thread makes the three and outlives it.
 */
#ifndef WATCH_OBSERVER_H
#define WATCH_OBSERVER_H

struct observer {
	struct log *log;
	struct meter *meter;
	struct tracer *tracer;
};

#endif
