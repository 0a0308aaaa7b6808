/* SPDX-License-Identifier: MIT */
/* process.h -- the process_* series, read from /proc/self when somebody scrapes. */
#ifndef HOST_PROCESS_H
#define HOST_PROCESS_H

struct meter;

/* Sets the gauges; what cannot be read is left out. Gives the CPU seconds used so far. */
double process_measure(struct meter *meter);

#endif
