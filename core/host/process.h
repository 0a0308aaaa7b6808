/* SPDX-License-Identifier: MIT */
/* process.h -- the process_* series, read from /proc/self when somebody scrapes; and what
 * the process is allowed. */
#ifndef HOST_PROCESS_H
#define HOST_PROCESS_H

struct meter;

/* Sets the gauges; what cannot be read is left out. Gives the CPU seconds used so far. */
double process_measure(struct meter *meter);

/* As many descriptors as the hard limit allows: the soft one is for programs that
 * select(2). */
void process_raise_limits(void);

#endif
