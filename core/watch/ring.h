/* SPDX-License-Identifier: MIT */
/* ring.h -- records of bytes from one thread to one other, without a lock.
 *
 * One thread writes, one thread reads. A record is contiguous: what does not fit before
 * the end of the memory starts at its beginning. When there is no room the record is not
 * written and the writer counts it as dropped. A record of more than half the ring may
 * never fit.
 *
 * Invariants
 *   - head - tail <= size, a jump of the writer over empty memory not counted; both only
 *     grow.
 *   - the reader sees a record only when all of it is written.
 */
#ifndef WATCH_RING_H
#define WATCH_RING_H

#include "base/slice.h"

#include <stdint.h>

struct ring;

/* size_bytes is rounded up to a power of two; the memory is touched only as it is used.
 */
struct ring *ring_create(size_t size_bytes);
void ring_destroy(struct ring *ring);

/* Writer: gives room for a record of up to size bytes, or NULL (and counts a drop). */
void *ring_begin(struct ring *ring, size_t size);

/* Writer: the record begun last is size bytes long and may be read. */
void ring_commit(struct ring *ring, size_t size);

/* Reader: the oldest record, borrowed until ring_release. False when there is none. */
bool ring_peek(struct ring *ring, struct slice *record);
void ring_release(struct ring *ring);

/* Reader: checks the invariants. */
void ring_check(const struct ring *ring);

/* Any thread. ring_used_bytes and ring_commit are sequentially consistent with each
 * other, so that a reader can say "I sleep" and look once more without missing a record.
 */
uint64_t ring_dropped(const struct ring *ring);
size_t ring_used_bytes(const struct ring *ring);

#endif
