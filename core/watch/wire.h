/* SPDX-License-Identifier: MIT */
/* wire.h -- protobuf wire forms, and the OTLP KeyValue that spans, logs and metrics
 * share.
 *
 * Two ways to write. Where the size is known to fit: functions that write at a position
 * and give the one behind it. Into a buf: wire_open and wire_close around the members of
 * a message, the length being filled in when it is closed. Nothing here omits defaults:
 * callers do.
 */
#ifndef WATCH_WIRE_H
#define WATCH_WIRE_H

#include "base/buf.h"
#include "watch/attr.h"

#define WIRE_VARINT 0
#define WIRE_FIXED64 1
#define WIRE_BYTES 2
#define WIRE_FIXED32 5

#define WIRE_TAG_MAX 2 /* bytes of a tag: field numbers here are below 2048 */
#define WIRE_VARINT_MAX 10

/* --- at a position ---------------------------------------------------------------- */

static inline size_t wire_varint_size(uint64_t value)
{
	/* Seven bits a byte; nine sixty-fourths are near enough to a seventh up to 64
	 * bits. */
	return ((size_t)(64 - __builtin_clzll(value | 1)) * 9 + 64) / 64;
}

static inline char *wire_varint(char *at, uint64_t value)
{
	while (value >= 0x80) {
		*at++ = (char)(value | 0x80);
		value >>= 7;
	}
	*at++ = (char)value;
	return at;
}

static inline char *wire_tag(char *at, unsigned field, unsigned type)
{
	return wire_varint(at, field << 3 | type);
}

static inline char *wire_number(char *at, unsigned field, uint64_t value)
{
	return wire_varint(wire_tag(at, field, WIRE_VARINT), value);
}

static inline char *wire_little_endian(char *at, uint64_t value, size_t size)
{
	for (size_t i = 0; i < size; i++)
		at[i] = (char)(value >> (8 * i));
	return at + size;
}

static inline char *wire_fixed64(char *at, unsigned field, uint64_t value)
{
	return wire_little_endian(wire_tag(at, field, WIRE_FIXED64), value, 8);
}

static inline char *wire_fixed32(char *at, unsigned field, uint32_t value)
{
	return wire_little_endian(wire_tag(at, field, WIRE_FIXED32), value, 4);
}

static inline char *wire_bytes(char *at, unsigned field, const void *bytes, size_t size)
{
	at = wire_varint(wire_tag(at, field, WIRE_BYTES), size);
	if (size > 0)
		memcpy(at, bytes, size);
	return at + size;
}

/* What wire_bytes writes for a field number below 16. */
static inline size_t wire_bytes_size(size_t size)
{
	return 1 + wire_varint_size(size) + size;
}

/* The bits of a double, for wire_fixed64. */
static inline uint64_t wire_double_bits(double value)
{
	uint64_t bits;

	memcpy(&bits, &value, sizeof(bits));
	return bits;
}

/* What wire_key_value writes, tag and length included. */
size_t wire_key_value_size(unsigned field, const struct attr *attr);

/* attr's texts must be UTF-8. */
char *wire_key_value(char *at, unsigned field, const struct attr *attr);

/* --- into a buf ------------------------------------------------------------------- */

void wire_put_number(struct buf *out, unsigned field, uint64_t value);
void wire_put_fixed64(struct buf *out, unsigned field, uint64_t value);
void wire_put_fixed32(struct buf *out, unsigned field, uint32_t value);
void wire_put_bytes(struct buf *out, unsigned field, struct slice bytes);

/* A string field: mended where it is not UTF-8, which receivers refuse as a whole. */
void wire_put_text(struct buf *out, unsigned field, struct slice text);

/* The same care for the texts of the attribute. */
void wire_put_attr(struct buf *out, unsigned field, const struct attr *attr);

/* A message inside a message; what wire_open gives belongs to wire_close. */
size_t wire_open(struct buf *out, unsigned field);
void wire_close(struct buf *out, size_t opened);

/* --- reading ---------------------------------------------------------------------- */

struct wire_field {
	unsigned number;
	unsigned type;
	uint64_t value; /* of a varint or a fixed number */
	struct slice bytes; /* of everything but a varint; borrowed */
};

/* Cuts the first field off *rest. False: there is none, or no good one. */
bool wire_read(struct slice *rest, struct wire_field *field);

/* A KeyValue; false when it is none, or its value is of a type that struct attr has not.
 * Borrows. */
bool wire_read_attr(struct slice key_value, struct attr *attr);

#endif
