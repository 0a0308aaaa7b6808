/* SPDX-License-Identifier: MIT */
/* loop_fd.h -- what loop.c and loop_fd.c share beside loop.h. Nobody else includes it. */
#ifndef LOOP_LOOP_FD_H
#define LOOP_LOOP_FD_H

struct loop;

/* Adds step to the number of descriptors watched: a loop is destroyed with none. */
void loop_count_fd(struct loop *loop, int step);

#endif
