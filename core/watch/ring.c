/* SPDX-License-Identifier: MIT */
/* ring.c -- one writer, one reader, two positions that only grow.
 *
 * A hot path: ring_begin and ring_commit are some 10 ns together and touch the reader's
 * cache line only when the ring looks full, or empty far from its start. In the second
 * case the writer starts over at the beginning of the memory, so that a ring that is
 * drained in time dirties an eighth of its pages and not all of them. Such a jump is told
 * in jump_from and not in the memory, so that the whole ring is free behind it.
 *
 * A record is a header of 8 bytes, its bytes, and padding to 8. A header whose skip is
 * set says that the rest of the memory up to its end is not used this time round.
 */
#include "watch/ring.h"

#include "base/check.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>

#define LINE 64 /* bytes of a cache line */
#define RING_SIZE_MIN 4096
#define RING_SIZE_MAX ((size_t)1 << 30)

struct header {
	uint32_t size;
	uint32_t skip;
};

struct ring {
	char *memory;
	size_t size;

	/* the writer's */
	_Alignas(LINE) _Atomic uint64_t head;
	_Atomic uint64_t jump_from; /* the reader goes on at the next lap from here */
	uint64_t begun; /* where the record in the making has its header */
	bool rewound; /* and it lies behind a jump */
	uint64_t tail_seen;
	size_t room; /* of the record in the making */
	_Atomic uint64_t dropped;

	/* the reader's */
	_Alignas(LINE) _Atomic uint64_t tail;
	uint64_t head_seen;
	size_t peeked; /* bytes that ring_release gives back */
};

static size_t whole_size(size_t size)
{
	return sizeof(struct header) + ((size + 7) & ~(size_t)7);
}

static uint64_t next_lap(const struct ring *ring, uint64_t position)
{
	return (position | (ring->size - 1)) + 1;
}

/* Where a reader that stands here reads. */
static uint64_t past_jump(const struct ring *ring, uint64_t position)
{
	uint64_t from = atomic_load_explicit(&ring->jump_from, memory_order_relaxed);

	return position == from ? next_lap(ring, position) : position;
}

static struct header *header_at(const struct ring *ring, uint64_t position)
{
	return (struct header *)(void *)(ring->memory + (position & (ring->size - 1)));
}

struct ring *ring_create(size_t size_bytes)
{
	struct ring *ring = aligned_alloc(LINE, sizeof(*ring));

	check(ring != NULL && size_bytes <= RING_SIZE_MAX);
	memset(ring, 0, sizeof(*ring));
	ring->jump_from = UINT64_MAX;
	ring->size = RING_SIZE_MIN;
	while (ring->size < size_bytes)
		ring->size *= 2;
	ring->memory = mmap(NULL, ring->size, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	check(ring->memory != MAP_FAILED);
	return ring;
}

void ring_destroy(struct ring *ring)
{
	if (ring == NULL)
		return;
	munmap(ring->memory, ring->size);
	free(ring);
}

static void *drop_one(struct ring *ring)
{
	uint64_t dropped = atomic_load_explicit(&ring->dropped, memory_order_relaxed);

	atomic_store_explicit(&ring->dropped, dropped + 1, memory_order_relaxed);
	return NULL;
}

/* Whether it is worth starting over: nothing is waiting, and we are far from the
 * beginning. */
static bool can_rewind(struct ring *ring, uint64_t head, size_t offset, size_t need)
{
	if (offset <= ring->size / 8 || need > offset)
		return false;
	ring->tail_seen = atomic_load_explicit(&ring->tail, memory_order_acquire);
	return ring->tail_seen == head;
}

void *ring_begin(struct ring *ring, size_t size)
{
	uint64_t head = atomic_load_explicit(&ring->head, memory_order_relaxed);
	uint64_t begun = head;
	size_t offset = head & (ring->size - 1), need;

	if (size > ring->size)
		return drop_one(ring);
	need = whole_size(size);
	ring->rewound = can_rewind(ring, head, offset, need);
	if (ring->rewound || offset + need > ring->size)
		begun = next_lap(ring, head);
	if (!ring->rewound &&
	    begun + need - past_jump(ring, ring->tail_seen) > ring->size) {
		ring->tail_seen = atomic_load_explicit(&ring->tail, memory_order_acquire);
		if (begun + need - past_jump(ring, ring->tail_seen) > ring->size)
			return drop_one(ring);
	}
	if (!ring->rewound && begun != head)
		*header_at(ring, head) = (struct header){ 0, 1 };
	ring->begun = begun;
	ring->room = size;
	return header_at(ring, begun) + 1;
}

void ring_commit(struct ring *ring, size_t size)
{
	check(size <= ring->room);
	*header_at(ring, ring->begun) = (struct header){ (uint32_t)size, 0 };
	ring->room = 0;
	/* The reader sees it with the new head, and not before it has read all up to
	 * here. */
	if (ring->rewound)
		atomic_store_explicit(&ring->jump_from, ring->head, memory_order_relaxed);
	atomic_store_explicit(&ring->head, ring->begun + whole_size(size),
			      memory_order_seq_cst);
}

bool ring_peek(struct ring *ring, struct slice *record)
{
	uint64_t tail = atomic_load_explicit(&ring->tail, memory_order_relaxed);
	struct header *header;

	if (tail == ring->head_seen) {
		ring->head_seen = atomic_load_explicit(&ring->head, memory_order_acquire);
		if (tail == ring->head_seen)
			return false;
	}
	header = header_at(ring, tail);
	if (past_jump(ring, tail) != tail || header->skip) {
		tail = next_lap(ring, tail);
		atomic_store_explicit(&ring->tail, tail, memory_order_release);
		header = header_at(ring, tail);
	}
	ring->peeked = whole_size(header->size);
	*record = (struct slice){ (const char *)(header + 1), header->size };
	return true;
}

void ring_release(struct ring *ring)
{
	uint64_t tail = atomic_load_explicit(&ring->tail, memory_order_relaxed);

	check(ring->peeked > 0);
	tail += ring->peeked;
	ring->peeked = 0;
	atomic_store_explicit(&ring->tail, tail, memory_order_release);
}

void ring_check(const struct ring *ring)
{
	uint64_t tail = atomic_load_explicit(&ring->tail, memory_order_acquire);
	uint64_t head = atomic_load_explicit(&ring->head, memory_order_acquire);

	check(tail == head || past_jump(ring, tail) < head);
	check(tail == head || head - past_jump(ring, tail) <= ring->size);
	check(ring->head_seen <= head && tail <= ring->head_seen);
	check(tail % sizeof(struct header) == 0 && head % sizeof(struct header) == 0);
}

uint64_t ring_dropped(const struct ring *ring)
{
	return atomic_load_explicit(&ring->dropped, memory_order_relaxed);
}

size_t ring_used_bytes(const struct ring *ring)
{
	uint64_t tail = atomic_load_explicit(&ring->tail, memory_order_relaxed);
	uint64_t head = atomic_load_explicit(&ring->head, memory_order_seq_cst);

	return tail == head ? 0 : (size_t)(head - past_jump(ring, tail));
}
