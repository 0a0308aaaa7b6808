/* SPDX-License-Identifier: MIT */
/* wire.c -- protobuf wire forms and KeyValue. */
#include "watch/wire.h"

#include "base/utf8.h"

/* Fields of opentelemetry.proto.common.v1. */
enum { KEY_VALUE_key = 1, KEY_VALUE_value = 2 };
enum { ANY_string = 1, ANY_bool = 2, ANY_int = 3, ANY_double = 4 };

/* An AnyValue is written even when it is 0 or empty: its member says what it is. */
static inline size_t any_value_size(const struct attr *attr)
{
	switch (attr->type) {
	case ATTR_text:
		return wire_bytes_size(attr->text.size);
	case ATTR_integer:
		return 1 + wire_varint_size((uint64_t)attr->integer);
	case ATTR_double:
		return 1 + 8;
	case ATTR_bool:
		return 2;
	}
	return 0;
}

static inline char *any_value(char *at, const struct attr *attr)
{
	switch (attr->type) {
	case ATTR_text:
		return wire_bytes(at, ANY_string, attr->text.at, attr->text.size);
	case ATTR_integer:
		return wire_number(at, ANY_int, (uint64_t)attr->integer);
	case ATTR_double:
		return wire_fixed64(at, ANY_double, wire_double_bits(attr->number));
	case ATTR_bool:
		return wire_number(at, ANY_bool, attr->boolean);
	}
	return at;
}

static inline size_t key_value_body(const struct attr *attr)
{
	return wire_bytes_size(attr->key.size) + wire_bytes_size(any_value_size(attr));
}

size_t wire_key_value_size(unsigned field, const struct attr *attr)
{
	return wire_varint_size(field << 3) - 1 + wire_bytes_size(key_value_body(attr));
}

char *wire_key_value(char *at, unsigned field, const struct attr *attr)
{
	at = wire_varint(wire_tag(at, field, WIRE_BYTES), key_value_body(attr));
	at = wire_bytes(at, KEY_VALUE_key, attr->key.at, attr->key.size);
	at = wire_varint(wire_tag(at, KEY_VALUE_value, WIRE_BYTES), any_value_size(attr));
	return any_value(at, attr);
}

void wire_put_number(struct buf *out, unsigned field, uint64_t value)
{
	char *at = buf_reserve(out, WIRE_TAG_MAX + WIRE_VARINT_MAX);

	out->size += (size_t)(wire_number(at, field, value) - at);
}

void wire_put_fixed64(struct buf *out, unsigned field, uint64_t value)
{
	char *at = buf_reserve(out, WIRE_TAG_MAX + 8);

	out->size += (size_t)(wire_fixed64(at, field, value) - at);
}

void wire_put_fixed32(struct buf *out, unsigned field, uint32_t value)
{
	char *at = buf_reserve(out, WIRE_TAG_MAX + 4);

	out->size += (size_t)(wire_fixed32(at, field, value) - at);
}

void wire_put_bytes(struct buf *out, unsigned field, struct slice bytes)
{
	char *at = buf_reserve(out, WIRE_TAG_MAX + WIRE_VARINT_MAX + bytes.size);

	out->size += (size_t)(wire_bytes(at, field, bytes.at, bytes.size) - at);
}

void wire_put_text(struct buf *out, unsigned field, struct slice text)
{
	size_t opened;

	if (utf8_valid(text) == text.size) {
		wire_put_bytes(out, field, text);
		return;
	}
	opened = wire_open(out, field);
	out->size += utf8_mend(text, buf_reserve(out, text.size * 3), text.size * 3);
	wire_close(out, opened);
}

void wire_put_attr(struct buf *out, unsigned field, const struct attr *attr)
{
	size_t key_value = wire_open(out, field), value;
	char *at;

	wire_put_text(out, KEY_VALUE_key, attr->key);
	value = wire_open(out, KEY_VALUE_value);
	if (attr->type == ATTR_text) {
		wire_put_text(out, ANY_string, attr->text);
	} else {
		at = buf_reserve(out, WIRE_TAG_MAX + WIRE_VARINT_MAX);
		out->size += (size_t)(any_value(at, attr) - at);
	}
	wire_close(out, value);
	wire_close(out, key_value);
}

size_t wire_open(struct buf *out, unsigned field)
{
	char *at = buf_reserve(out, WIRE_TAG_MAX);

	out->size += (size_t)(wire_tag(at, field, WIRE_BYTES) - at);
	return out->size;
}

void wire_close(struct buf *out, size_t opened)
{
	size_t size = out->size - opened, length = wire_varint_size(size);
	char *body;

	buf_reserve(out, length);
	body = out->at + opened;
	memmove(body + length, body, size);
	wire_varint(body, size);
	out->size += length;
}

static bool read_varint(struct slice *rest, uint64_t *value)
{
	*value = 0;
	for (unsigned shift = 0; shift < 64 && rest->size > 0; shift += 7) {
		uint8_t byte = (uint8_t)*rest->at++;

		rest->size--;
		*value |= (uint64_t)(byte & 0x7f) << shift;
		if (byte < 0x80)
			return true;
	}
	return false;
}

static uint64_t read_little_endian(struct slice bytes)
{
	uint64_t value = 0;

	for (size_t i = bytes.size; i > 0; i--)
		value = value << 8 | (uint8_t)bytes.at[i - 1];
	return value;
}

bool wire_read(struct slice *rest, struct wire_field *field)
{
	uint64_t tag, size = 0;

	if (!read_varint(rest, &tag) || tag >> 3 == 0 || tag > UINT32_MAX)
		return false;
	*field = (struct wire_field){ .number = (unsigned)(tag >> 3), .type = tag & 7 };
	switch (field->type) {
	case WIRE_VARINT:
		return read_varint(rest, &field->value);
	case WIRE_FIXED64:
		size = 8;
		break;
	case WIRE_FIXED32:
		size = 4;
		break;
	case WIRE_BYTES:
		if (!read_varint(rest, &size))
			return false;
		break;
	default:
		return false;
	}
	if (size > rest->size)
		return false;
	field->bytes = slice_of(rest->at, size);
	if (field->type != WIRE_BYTES)
		field->value = read_little_endian(field->bytes);
	rest->at += size;
	rest->size -= size;
	return true;
}

static bool read_value(struct slice any_value, struct attr *attr)
{
	struct wire_field field;

	if (!wire_read(&any_value, &field))
		return false;
	switch (field.number << 3 | field.type) {
	case ANY_string << 3 | WIRE_BYTES:
		*attr = attr_text(attr->key, field.bytes);
		return true;
	case ANY_int << 3 | WIRE_VARINT:
		*attr = attr_integer(attr->key, (int64_t)field.value);
		return true;
	case ANY_double << 3 | WIRE_FIXED64:
		*attr = attr_double(attr->key, 0);
		memcpy(&attr->number, &field.value, sizeof(attr->number));
		return true;
	case ANY_bool << 3 | WIRE_VARINT:
		*attr = attr_bool(attr->key, field.value != 0);
		return true;
	default:
		return false;
	}
}

bool wire_read_attr(struct slice key_value, struct attr *attr)
{
	struct wire_field field;
	bool read = false;

	*attr = (struct attr){ 0 };
	while (wire_read(&key_value, &field)) {
		if (field.type != WIRE_BYTES)
			return false;
		if (field.number == KEY_VALUE_key)
			attr->key = field.bytes;
		else if (field.number == KEY_VALUE_value)
			read = read_value(field.bytes, attr);
	}
	return read;
}
