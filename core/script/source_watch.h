/* SPDX-License-Identifier: MIT */
/* source_watch.h -- tells when source files may have changed.
 *
 * inotify tells at once; because it is silent on some mounts (network file systems, a
 * host's folder in a container), the files are also looked at every SOURCE_POLL_MS.
 * Either way `changed` is called when it has been quiet for SOURCE_QUIET_MS, so that what
 * an editor or a checkout writes in one go is taken as one change. It may have been
 * nothing: compare sources_digest.
 */
#ifndef SCRIPT_SOURCE_WATCH_H
#define SCRIPT_SOURCE_WATCH_H

#include "script/sources.h"

#define SOURCE_QUIET_MS 20
#define SOURCE_QUIET_MAX_MS 200 /* however long the writing goes on */
#define SOURCE_POLL_MS 500

struct loop;
struct source_watch;

/* On the loop's thread. Borrows what folders point to. */
struct source_watch *source_watch_create(struct loop *loop,
					 const struct source_folder *folders,
					 size_t count, void (*changed)(void *context),
					 void *context);
void source_watch_destroy(struct source_watch *watch); /* NULL is allowed */

#endif
