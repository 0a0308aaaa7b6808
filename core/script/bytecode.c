/* SPDX-License-Identifier: MIT */
/* bytecode.c -- the dump is a header and then functions, those inside before those
 * around them:
 *
 *   ESC 'L' 'J' version flags  name-size name  function* 0
 *   function: size  flags parameters registers upvalues  constants numbers instructions
 *             debug-size first-line lines   instructions  upvalues  constants  numbers
 *             debug
 *
 * Numbers above a byte are ULEB128.
 */
#include "script/bytecode.h"

#include "base/arena.h"
#include "base/check.h"

#include <stdlib.h>

#define VERSION 2
#define FLAG_big_endian 1
#define FLAG_stripped 2
#define FLAG_two_slots 8 /* a call's frame takes two registers */

#define UPVALUE_local 0x8000
#define UPVALUE_fixed 0x4000

#define NESTED_MAX 4096 /* functions that wait for the one around them */

enum {
	CONSTANT_function,
	CONSTANT_table,
	CONSTANT_signed, /* 1LL */
	CONSTANT_unsigned,
	CONSTANT_complex,
	CONSTANT_text
};
enum { MEMBER_integer = 3, MEMBER_number, MEMBER_text };

struct bytecode {
	struct arena arena;
	const struct bytecode_function *waiting[NESTED_MAX];
	unsigned waiting_count;
};

/* Reads that go beyond the end give 0 and leave `bad`. */
struct reader {
	const unsigned char *at, *end;
	bool bad;
};

static unsigned read_byte(struct reader *reader)
{
	if (reader->at >= reader->end) {
		reader->bad = true;
		return 0;
	}
	return *reader->at++;
}

static unsigned read_number(struct reader *reader)
{
	unsigned value = 0, byte, shift = 0;

	do {
		byte = read_byte(reader);
		if (shift < 32)
			value |= (byte & 0x7f) << shift;
		shift += 7;
	} while (byte >= 0x80);
	return value;
}

static const char *read_bytes(struct reader *reader, size_t size)
{
	const char *at = (const char *)reader->at;

	if (size > (size_t)(reader->end - reader->at)) {
		reader->bad = true;
		return NULL;
	}
	reader->at += size;
	return at;
}

/* --- constants -------------------------------------------------------------------- */

static void skip_member(struct reader *reader)
{
	unsigned type = read_number(reader);

	if (type >= MEMBER_text)
		read_bytes(reader, type - MEMBER_text);
	if (type == MEMBER_integer || type == MEMBER_number)
		read_number(reader);
	if (type == MEMBER_number)
		read_number(reader);
}

static void skip_table(struct reader *reader)
{
	unsigned items = read_number(reader), pairs = read_number(reader);

	for (unsigned i = 0; i < items && !reader->bad; i++)
		skip_member(reader);
	for (unsigned i = 0; i < pairs && !reader->bad; i++) {
		skip_member(reader);
		skip_member(reader);
	}
}

static struct bytecode_constant read_constant(struct bytecode *bytecode,
					      struct reader *reader)
{
	struct bytecode_constant constant = { 0 };
	unsigned type = read_number(reader);

	if (type >= CONSTANT_text) {
		constant.text.size = type - CONSTANT_text;
		constant.text.at = read_bytes(reader, constant.text.size);
	} else if (type == CONSTANT_table) {
		skip_table(reader);
	} else if (type == CONSTANT_function && bytecode->waiting_count > 0) {
		constant.function = bytecode->waiting[--bytecode->waiting_count];
	} else if (type > CONSTANT_table) {
		for (unsigned i = 0; i < (type == CONSTANT_complex ? 4 : 2); i++)
			read_number(reader);
	} else {
		reader->bad = true;
	}
	return constant;
}

/* The first in the dump is the last by index. */
static void read_constants(struct bytecode *bytecode, struct reader *reader,
			   struct bytecode_function *function)
{
	struct bytecode_constant *all = arena_alloc(
		&bytecode->arena, (function->constant_count + 1) * sizeof(*all));

	memset(all, 0, (function->constant_count + 1) * sizeof(*all));
	function->constants = all;
	for (unsigned i = function->constant_count; i > 0 && !reader->bad; i--)
		all[i - 1] = read_constant(bytecode, reader);
}

static void skip_numbers(struct reader *reader, unsigned count)
{
	for (unsigned i = 0; i < count && !reader->bad; i++) {
		bool has_high = reader->at < reader->end && (*reader->at & 1);

		read_number(reader);
		if (has_high)
			read_number(reader);
	}
}

/* --- functions -------------------------------------------------------------------- */

static void read_upvalues(struct bytecode *bytecode, struct reader *reader,
			  struct bytecode_function *function)
{
	struct bytecode_upvalue *all = arena_alloc(
		&bytecode->arena, (function->upvalue_count + 1) * sizeof(*all));

	function->upvalues = all;
	for (unsigned i = 0; i < function->upvalue_count; i++) {
		unsigned low = read_byte(reader);
		unsigned bits = low | read_byte(reader) << 8;

		all[i].local = bits & UPVALUE_local;
		all[i].fixed = bits & UPVALUE_fixed;
		all[i].index = bits & 0xff;
	}
}

static const struct bytecode_function *read_function(struct bytecode *bytecode,
						     struct reader *reader)
{
	struct bytecode_function *function =
		arena_alloc(&bytecode->arena, sizeof(*function));
	unsigned number_count, debug_size, line_count = 0;

	*function = (struct bytecode_function){ 0 };
	read_byte(reader); /* flags */
	read_byte(reader); /* parameters */
	function->registers = read_byte(reader);
	function->upvalue_count = read_byte(reader);
	function->constant_count = read_number(reader);
	number_count = read_number(reader);
	function->count = read_number(reader);
	debug_size = read_number(reader);
	if (debug_size) {
		function->first_line = read_number(reader);
		line_count = read_number(reader);
	}
	if (function->constant_count > (size_t)(reader->end - reader->at))
		reader->bad = true;
	if (reader->bad)
		return NULL;
	function->instructions = read_bytes(reader, (size_t)function->count * 4);
	read_upvalues(bytecode, reader, function);
	read_constants(bytecode, reader, function);
	skip_numbers(reader, number_count);
	function->line_bytes = line_count < 256 ? 1 : line_count < 65536 ? 2 : 4;
	function->lines = read_bytes(reader, debug_size);
	if (debug_size < (size_t)function->count * function->line_bytes)
		reader->bad = true;
	return function;
}

static bool read_header(struct reader *reader)
{
	const char *mark = read_bytes(reader, 4);
	unsigned flags = read_number(reader);
	unsigned wanted = sizeof(void *) == 8 ? FLAG_two_slots : 0;

	if (reader->bad || memcmp(mark, "\033LJ", 3) != 0 || mark[3] != VERSION ||
	    (flags & (FLAG_big_endian | FLAG_stripped | FLAG_two_slots)) != wanted)
		return false;
	read_bytes(reader, read_number(reader));
	return !reader->bad;
}

static bool read_all(struct bytecode *bytecode, struct reader *reader)
{
	unsigned size;

	if (!read_header(reader))
		return false;
	while ((size = read_number(reader)) > 0) {
		const unsigned char *at = (const unsigned char *)read_bytes(reader, size);
		struct reader inside;
		const struct bytecode_function *function;

		if (reader->bad || bytecode->waiting_count == NESTED_MAX)
			return false;
		inside = (struct reader){ at, at + size, false };
		function = read_function(bytecode, &inside);
		if (inside.bad || inside.at != inside.end)
			return false;
		bytecode->waiting[bytecode->waiting_count++] = function;
	}
	return !reader->bad && bytecode->waiting_count == 1;
}

struct bytecode *bytecode_read(struct slice dump)
{
	struct bytecode *bytecode = mem_zeroed(1, sizeof(*bytecode));
	struct reader reader = { (const unsigned char *)dump.at,
				 (const unsigned char *)dump.at + dump.size, false };

	if (read_all(bytecode, &reader))
		return bytecode;
	bytecode_destroy(bytecode);
	return NULL;
}

void bytecode_destroy(struct bytecode *bytecode)
{
	if (!bytecode)
		return;
	arena_finish(&bytecode->arena);
	free(bytecode);
}

const struct bytecode_function *bytecode_main(const struct bytecode *bytecode)
{
	return bytecode->waiting[0];
}

/* --- instructions ----------------------------------------------------------------- */

static unsigned line_at(const struct bytecode_function *function, unsigned index)
{
	const unsigned char *at = (const unsigned char *)function->lines +
				  (size_t)index * function->line_bytes;
	unsigned line = 0;

	for (unsigned i = function->line_bytes; i > 0; i--)
		line = line << 8 | at[i - 1];
	return function->first_line + line;
}

struct bytecode_instruction bytecode_at(const struct bytecode_function *function,
					unsigned index)
{
	const unsigned char *at =
		(const unsigned char *)function->instructions + (size_t)index * 4;

	check(index < function->count);
	return (struct bytecode_instruction){
		.op = (enum bytecode_op)at[0],
		.a = at[1],
		.c = at[2],
		.b = at[3],
		.d = at[2] | (unsigned)at[3] << 8,
		.line = line_at(function, index),
	};
}

bool bytecode_target(struct bytecode_instruction instruction, unsigned index,
		     unsigned *target)
{
	switch (instruction.op) {
	case OP_UCLO:
	case OP_ISNEXT:
	case OP_FORI:
	case OP_FORL:
	case OP_ITERL:
	case OP_JMP:
		*target = index + 1 + instruction.d - 0x8000;
		return true;
	default:
		return false;
	}
}
