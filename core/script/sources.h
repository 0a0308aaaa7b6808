/* SPDX-License-Identifier: MIT */
/* sources.h -- the texts that the VMs of one generation are made from.
 *
 * A snapshot is read at one go and never changes: what a VM requires later, and what
 * another worker's VM is made from, is the same text, whatever happens to the files
 * meanwhile. A cache, for tests and commands, reads a file whenever it is asked for, and
 * keeps the text for excerpts.
 *
 * Invariants
 *   - a snapshot's texts stay where they are; a cache's until they are asked for again.
 *   - a snapshot is never written: any number of threads may read it.
 */
#ifndef SCRIPT_SOURCES_H
#define SCRIPT_SOURCES_H

#include "base/fault.h"

#include <stdint.h>

#define SOURCE_SIZE_MAX (1u << 20) /* bytes of one file */
#define SOURCES_MAX 2000 /* files of a snapshot */

struct sources;

/* A cache. */
struct sources *sources_create(void);

struct source_folder {
	const char *path; /* NULL: none */
	int depth; /* 1: without the folders in it */
};

/* A snapshot of the .lua files in the folders; hidden files and folders are not looked
 * at, nor a folder that is not there. NULL with why. */
struct sources *sources_read(const struct source_folder *folders, size_t count,
			     struct fault *why);

/* Another holder of a snapshot. Any thread. */
struct sources *sources_share(struct sources *sources);

/* The last holder frees. NULL is allowed. */
void sources_release(struct sources *sources);

/* The text of a file; missing: there is none. */
bool sources_text(struct sources *sources, const char *path, struct slice *text,
		  struct fault *why);

/* The text of the file whose path ends with this, as names of chunks in messages do; or
 * nothing. */
struct slice sources_of_chunk(const struct sources *sources, struct slice chunk);

/* A number that differs when paths or texts do. */
uint64_t sources_digest(const struct sources *sources);

#endif
