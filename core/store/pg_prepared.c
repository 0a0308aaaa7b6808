/* SPDX-License-Identifier: MIT */
/* pg_prepared.c -- a hash table with a list through it. */
#include "store/pg_prepared.h"

#include "base/check.h"

#include <stdio.h>
#include <stdlib.h>

struct entry {
	struct list used;
	struct list bucket;
	uint64_t hash;
	uint64_t serial;
	bool ready;
	size_t size;
	char sql[];
};

/* Eight bytes at a time; the texts come from our own scripts, so that no secret is
 * needed. */
static uint64_t hash_of(struct slice sql)
{
	uint64_t hash = sql.size * 0x9E3779B97F4A7C15u;
	uint64_t word = 0;

	while (sql.size >= 8) {
		memcpy(&word, sql.at, 8);
		hash = (hash ^ word) * 0xD6E8FEB86659FD93u;
		hash ^= hash >> 32;
		sql.at += 8;
		sql.size -= 8;
	}
	word = 0;
	memcpy(&word, sql.at, sql.size);
	hash = (hash ^ word) * 0xD6E8FEB86659FD93u;
	return hash ^ hash >> 29;
}

void pg_prepared_init(struct pg_prepared *prepared)
{
	list_init(&prepared->used);
	for (size_t i = 0; i < PG_PREPARED_MAX; i++)
		list_init(&prepared->buckets[i]);
	prepared->count = 0;
	prepared->serial = 0;
}

static void entry_free(struct pg_prepared *prepared, struct entry *entry)
{
	list_remove(&entry->used);
	list_remove(&entry->bucket);
	free(entry);
	prepared->count--;
}

void pg_prepared_finish(struct pg_prepared *prepared)
{
	if (!prepared->used.next)
		return;
	while (!list_empty(&prepared->used))
		entry_free(prepared, list_of(prepared->used.next, struct entry, used));
}

static struct entry *find(struct pg_prepared *prepared, struct slice sql, uint64_t hash)
{
	struct list *head = &prepared->buckets[hash % PG_PREPARED_MAX];

	for (struct list *each = head->next; each != head; each = each->next) {
		struct entry *entry = list_of(each, struct entry, bucket);

		if (entry->hash == hash &&
		    slice_equal(slice_of(entry->sql, entry->size), sql))
			return entry;
	}
	return NULL;
}

uint64_t pg_prepared_find(struct pg_prepared *prepared, struct slice sql, bool *ready)
{
	struct entry *entry = find(prepared, sql, hash_of(sql));

	*ready = entry && entry->ready;
	if (!entry)
		return 0;
	list_remove(&entry->used);
	list_append(&prepared->used, &entry->used);
	return entry->serial;
}

void pg_prepared_confirm(struct pg_prepared *prepared, struct slice sql, uint64_t serial)
{
	struct entry *entry = find(prepared, sql, hash_of(sql));

	if (entry && entry->serial == serial)
		entry->ready = true;
}

uint64_t pg_prepared_add(struct pg_prepared *prepared, struct slice sql,
			 uint64_t *dropped)
{
	struct entry *entry;

	*dropped = 0;
	if (prepared->count == PG_PREPARED_MAX) {
		entry = list_of(prepared->used.next, struct entry, used);
		*dropped = entry->serial;
		entry_free(prepared, entry);
	}
	entry = mem_zeroed(1, sizeof(*entry) + sql.size);
	entry->hash = hash_of(sql);
	entry->serial = ++prepared->serial;
	entry->size = sql.size;
	memcpy(entry->sql, sql.at, sql.size);
	list_append(&prepared->used, &entry->used);
	list_append(&prepared->buckets[entry->hash % PG_PREPARED_MAX], &entry->bucket);
	prepared->count++;
	return entry->serial;
}

bool pg_prepared_drop(struct pg_prepared *prepared, struct slice sql, uint64_t serial)
{
	struct entry *entry = find(prepared, sql, hash_of(sql));

	if (!entry || entry->serial != serial)
		return false;
	entry_free(prepared, entry);
	return true;
}

void pg_prepared_name(uint64_t serial, char name[PG_PREPARED_NAME_SIZE])
{
	snprintf(name, PG_PREPARED_NAME_SIZE, "s%llu", (unsigned long long)serial);
}

void pg_prepared_check(const struct pg_prepared *prepared)
{
	size_t used = 0, hashed = 0;

	for (struct list *each = prepared->used.next; each != &prepared->used;
	     each = each->next) {
		check(list_of(each, struct entry, used)->serial <= prepared->serial);
		used++;
	}
	for (size_t i = 0; i < PG_PREPARED_MAX; i++)
		for (struct list *each = prepared->buckets[i].next;
		     each != &prepared->buckets[i]; each = each->next) {
			check(list_of(each, struct entry, bucket)->hash %
				      PG_PREPARED_MAX ==
			      i);
			hashed++;
		}
	check(used == prepared->count);
	check(hashed == prepared->count);
	check(prepared->count <= PG_PREPARED_MAX);
}
