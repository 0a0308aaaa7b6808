/* SPDX-License-Identifier: MIT */
#include "store/amqp_history.h"

#include <amqp.h>
#include <stdint.h>

#define NS_PER_S INT64_C(1000000000)

static const amqp_field_value_t *member(const amqp_table_t *table, const char *name)
{
	struct slice wanted = slice_text(name);

	for (int i = 0; i < table->num_entries; i++) {
		amqp_bytes_t key = table->entries[i].key;

		if (slice_equal(slice_of(key.bytes, key.len), wanted))
			return &table->entries[i].value;
	}
	return NULL;
}

/* The value, if it is of this kind. */
static const amqp_field_value_t *of_kind(const amqp_field_value_t *value, int kind)
{
	return value && value->kind == kind ? value : NULL;
}

static const amqp_field_value_t *first_of(const amqp_field_value_t *value)
{
	value = of_kind(value, AMQP_FIELD_KIND_ARRAY);
	return value && value->value.array.num_entries > 0
		       ? &value->value.array.entries[0]
		       : NULL;
}

static struct slice text_of(const amqp_field_value_t *value)
{
	value = of_kind(value, AMQP_FIELD_KIND_UTF8);
	return value ? slice_of(value->value.bytes.bytes, value->value.bytes.len)
		     : slice_of(NULL, 0);
}

static void read_newest(const amqp_table_t *table, struct amqp_death *death)
{
	const amqp_field_value_t *value;

	death->queue = text_of(member(table, "queue"));
	death->reason = text_of(member(table, "reason"));
	value = of_kind(member(table, "count"), AMQP_FIELD_KIND_I64);
	if (value)
		death->count = value->value.i64;
	value = of_kind(member(table, "time"), AMQP_FIELD_KIND_TIMESTAMP);
	/* Anybody may write the header: a time beyond struct wall is none. */
	if (value && value->value.u64 <= INT64_MAX / NS_PER_S)
		death->time.ns = (int64_t)value->value.u64 * NS_PER_S;
}

/* The broker has one entry for each queue and reason: when a letter that was sent back
 * dies for another reason, the newest says how it was sent back. */
bool amqp_death_read(const struct amqp_table_t_ *headers, struct amqp_death *death)
{
	const amqp_field_value_t *deaths =
		of_kind(member(headers, "x-death"), AMQP_FIELD_KIND_ARRAY);

	*death = (struct amqp_death){ 0 };
	if (!of_kind(first_of(deaths), AMQP_FIELD_KIND_TABLE))
		return false;
	read_newest(&first_of(deaths)->value.table, death);
	for (int i = 0; i < deaths->value.array.num_entries; i++) {
		const amqp_field_value_t *entry = &deaths->value.array.entries[i];
		const amqp_table_t *table = &entry->value.table;

		if (entry->kind != AMQP_FIELD_KIND_TABLE ||
		    !slice_equal(text_of(member(table, "queue")), death->queue))
			continue;
		death->exchange = text_of(member(table, "exchange"));
		death->routing_key = text_of(first_of(member(table, "routing-keys")));
	}
	return true;
}
