/* SPDX-License-Identifier: MIT */
/* pg_prepared.h -- which statements one connection has prepared: by text, bounded, least
 * recently used out first. It only keeps the books; pg_link talks to the server.
 *
 * Invariants
 *   - at most PG_PREPARED_MAX entries, each text once.
 *   - a serial is never used again, so a name at the server means one text for ever.
 */
#ifndef STORE_PG_PREPARED_H
#define STORE_PG_PREPARED_H

#include "base/list.h"
#include "base/slice.h"

#include <stdint.h>

#define PG_PREPARED_MAX 256
#define PG_PREPARED_TEXT_MAX 16384 /* longer statements are not kept */
#define PG_PREPARED_NAME_SIZE 24

struct pg_prepared {
	struct list used; /* entries, the least recently used first */
	struct list buckets[PG_PREPARED_MAX]; /* entries by hash */
	unsigned count;
	uint64_t serial; /* the last one given */
};

void pg_prepared_init(struct pg_prepared *prepared);
void pg_prepared_finish(struct pg_prepared *prepared);

/* The serial of this text, and marks it as used now; 0 when it is not there. *ready: the
 * server has confirmed it. */
uint64_t pg_prepared_find(struct pg_prepared *prepared, struct slice sql, bool *ready);

/* The server has confirmed the entry with this serial. */
void pg_prepared_confirm(struct pg_prepared *prepared, struct slice sql, uint64_t serial);

/* Copies the text, which is not there yet, and gives its serial. When the cache was full
 * the least recently used is dropped and *dropped is its serial; else *dropped is 0. */
uint64_t pg_prepared_add(struct pg_prepared *prepared, struct slice sql,
			 uint64_t *dropped);

/* Forgets the entry with this serial. False when there is none. */
bool pg_prepared_drop(struct pg_prepared *prepared, struct slice sql, uint64_t serial);

/* The statement's name at the server, terminated. */
void pg_prepared_name(uint64_t serial, char name[PG_PREPARED_NAME_SIZE]);

void pg_prepared_check(const struct pg_prepared *prepared);

#endif
