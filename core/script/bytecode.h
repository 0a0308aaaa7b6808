/* SPDX-License-Identifier: MIT */
/* bytecode.h -- what the compiler made of a chunk: LuaJIT's dump, taken apart.
 *
 * The format is that of LuaJIT 2.1.0-beta3 (bytecode version 2) with line numbers, as
 * lua_dump writes it in this process: never something from outside. Another version, or
 * anything that does not fit, is refused as a whole. Nothing here runs the chunk.
 */
#ifndef SCRIPT_BYTECODE_H
#define SCRIPT_BYTECODE_H

#include "base/slice.h"

#include <stdint.h>

/* The operations, in the order of their numbers. */
enum bytecode_op {
	OP_ISLT,
	OP_ISGE,
	OP_ISLE,
	OP_ISGT,
	OP_ISEQV,
	OP_ISNEV,
	OP_ISEQS,
	OP_ISNES,
	OP_ISEQN,
	OP_ISNEN,
	OP_ISEQP,
	OP_ISNEP,
	OP_ISTC,
	OP_ISFC,
	OP_IST,
	OP_ISF,
	OP_ISTYPE,
	OP_ISNUM,
	OP_MOV,
	OP_NOT,
	OP_UNM,
	OP_LEN,
	OP_ADDVN,
	OP_POW = OP_ADDVN + 15, /* fifteen of arithmetic between */
	OP_CAT,
	OP_KSTR,
	OP_KCDATA,
	OP_KSHORT,
	OP_KNUM,
	OP_KPRI,
	OP_KNIL,
	OP_UGET,
	OP_USETV,
	OP_USETS,
	OP_USETN,
	OP_USETP,
	OP_UCLO,
	OP_FNEW,
	OP_TNEW,
	OP_TDUP,
	OP_GGET,
	OP_GSET,
	OP_TGETV,
	OP_TGETS,
	OP_TGETB,
	OP_TGETR,
	OP_TSETV,
	OP_TSETS,
	OP_TSETB,
	OP_TSETM,
	OP_TSETR,
	OP_CALLM,
	OP_CALL,
	OP_CALLMT,
	OP_CALLT,
	OP_ITERC,
	OP_ITERN,
	OP_VARG,
	OP_ISNEXT,
	OP_RETM,
	OP_RET,
	OP_RET0,
	OP_RET1,
	OP_FORI,
	OP_JFORI,
	OP_FORL,
	OP_IFORL,
	OP_JFORL,
	OP_ITERL,
	OP_IITERL,
	OP_JITERL,
	OP_LOOP,
	OP_ILOOP,
	OP_JLOOP,
	OP_JMP,
	OP_count
};

struct bytecode_instruction {
	enum bytecode_op op;
	unsigned a, b, c; /* b and c are the two halves of d */
	unsigned d;
	unsigned line;
};

struct bytecode_function;

struct bytecode_constant {
	struct slice text; /* at NULL when it is no text */
	const struct bytecode_function *function; /* NULL when it is none */
};

struct bytecode_upvalue {
	bool local; /* of the function around: index is its register, else its upvalue */
	bool fixed; /* a local that is never assigned again */
	unsigned index;
};

/* Borrowed from the struct bytecode and from the dump. */
struct bytecode_function {
	unsigned registers;
	unsigned upvalue_count;
	const struct bytecode_upvalue *upvalues;
	unsigned constant_count;
	const struct bytecode_constant *constants; /* texts, tables and functions, by d */
	unsigned count; /* of instructions */
	const char *instructions;
	const char *lines;
	unsigned line_bytes; /* of one line number: 1, 2 or 4 */
	unsigned first_line;
};

struct bytecode;

/* Borrows dump. NULL when it is not of the known format. */
struct bytecode *bytecode_read(struct slice dump);

/* NULL is allowed. */
void bytecode_destroy(struct bytecode *bytecode);

/* The chunk itself; the functions inside are its constants. */
const struct bytecode_function *bytecode_main(const struct bytecode *bytecode);

/* index < count */
struct bytecode_instruction bytecode_at(const struct bytecode_function *function,
					unsigned index);

/* Where an operation that may jump goes to: true with the index, which is at most count.
 */
bool bytecode_target(struct bytecode_instruction instruction, unsigned index,
		     unsigned *target);

#endif
