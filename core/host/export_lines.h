/* SPDX-License-Identifier: MIT */
/* export_lines.h -- log lines on their way to a descriptor that may be slow, blocked or
 * closed.
 *
 * A write never blocks for longer than the caller allows, whatever the descriptor is. To
 * pipes and terminals it goes in pieces of whole lines of up to PIPE_BUF bytes, so that
 * lines of several processes on one pipe do not mix; to files in one write. When the
 * other end has gone, lines are thrown away from then on.
 */
#ifndef HOST_EXPORT_LINES_H
#define HOST_EXPORT_LINES_H

#include "base/buf.h"

struct export_lines { /* zeroed, with fd set, is empty */
	int fd;
	struct buf pending; /* append lines here */
	bool lost; /* the other end has gone */
};

/* Writes what it can; waits up to wait_ms each time the descriptor is not ready. False:
 * some is left. */
bool export_lines_write(struct export_lines *lines, int wait_ms);

void export_lines_finish(struct export_lines *lines);

#endif
