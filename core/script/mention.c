/* SPDX-License-Identifier: MIT */
/* mention.c -- follows what registers hold through each function.
 *
 * At each place where ways meet, a register holds what it holds on all of them: places
 * are gone through again until nothing changes; then once more, telling. A register that
 * a function inside assigns as its upvalue is never known.
 */
#include "script/mention.h"

#include "base/buf.h"
#include "base/check.h"
#include "script/bytecode.h"

#include <lauxlib.h>
#include <stdlib.h>

#define REGISTERS_MAX 256

/* Where the arguments of a call stand behind its function. */
#define ARGUMENT (sizeof(void *) == 8 ? 2 : 1)

enum value_kind { VALUE_any, VALUE_text, VALUE_require, VALUE_module, VALUE_global };

struct value {
	enum value_kind kind;
	struct slice text; /* the text, or the name of the module or global */
};

struct state {
	bool reached;
	unsigned count;
	struct value *registers;
};

struct telling {
	mention_fn *tell;
	void *context;
};

struct walk {
	const struct bytecode_function *function;
	const struct value *upvalues;
	bool shared[REGISTERS_MAX]; /* assigned by functions inside */
	int *meeting; /* by instruction: index of its state, -1: no jump ends here */
	struct state *states; /* where ways meet; then the one underway */
	struct value *registers; /* of all of them */
	bool changed;
	const struct telling *telling; /* NULL: not yet */
};

/* --- states ----------------------------------------------------------------------- */

static bool value_equal(struct value a, struct value b)
{
	return a.kind == b.kind && slice_equal(a.text, b.text);
}

static void forget_from(struct state *state, unsigned first)
{
	for (unsigned i = first; i < state->count; i++)
		state->registers[i].kind = VALUE_any;
}

static void copy_state(struct state *to, const struct state *from)
{
	memcpy(to->registers, from->registers, to->count * sizeof(*to->registers));
}

static void set(struct walk *walk, struct state *state, unsigned at, struct value value)
{
	if (walk->shared[at])
		value.kind = VALUE_any;
	state->registers[at] = value;
}

static void forget(struct state *state, unsigned at)
{
	state->registers[at].kind = VALUE_any;
}

/* One more way leads to where `into` is. */
static void meet(struct walk *walk, struct state *into, const struct state *from)
{
	if (!into->reached) {
		copy_state(into, from);
		into->reached = walk->changed = true;
		return;
	}
	for (unsigned i = 0; i < into->count; i++) {
		struct value *value = &into->registers[i];

		if (value->kind != VALUE_any &&
		    !value_equal(*value, from->registers[i])) {
			value->kind = VALUE_any;
			walk->changed = true;
		}
	}
}

/* --- telling ---------------------------------------------------------------------- */

static void tell(const struct walk *walk, enum mention_kind kind, struct slice of,
		 struct slice name, unsigned line)
{
	struct mention mention = { kind, of, name, line };

	if (walk->telling && name.at)
		walk->telling->tell(walk->telling->context, &mention);
}

static struct slice constant_text(const struct walk *walk, unsigned index)
{
	check(index < walk->function->constant_count);
	return walk->function->constants[index].text;
}

static void walk_function(const struct bytecode_function *function,
			  const struct value *upvalues, const struct telling *telling);

static void walk_inside(const struct walk *walk, const struct state *state,
			unsigned index)
{
	const struct bytecode_function *inside =
		walk->function->constants[index].function;
	struct value upvalues[REGISTERS_MAX] = { 0 };

	if (!walk->telling || !inside)
		return;
	for (unsigned i = 0; i < inside->upvalue_count; i++) {
		struct bytecode_upvalue upvalue = inside->upvalues[i];

		if (!upvalue.local)
			upvalues[i] = walk->upvalues[upvalue.index];
		else if (upvalue.fixed)
			upvalues[i] = state->registers[upvalue.index];
	}
	walk_function(inside, upvalues, walk->telling);
}

/* --- one instruction -------------------------------------------------------------- */

static bool is_require(const struct state *state, struct bytecode_instruction i)
{
	return state->registers[i.a].kind == VALUE_require && i.c == 2 &&
	       i.a + ARGUMENT < state->count &&
	       state->registers[i.a + ARGUMENT].kind == VALUE_text;
}

static void pass_call(struct walk *walk, struct state *state,
		      struct bytecode_instruction i)
{
	struct value result = { 0 };

	if ((i.op == OP_CALL || i.op == OP_CALLT) && is_require(state, i)) {
		result.kind = VALUE_module;
		result.text = state->registers[i.a + ARGUMENT].text;
		tell(walk, MENTION_require, (struct slice){ 0 }, result.text, i.line);
	}
	forget_from(state, i.a);
	if (result.kind && i.op == OP_CALL && i.b >= 2)
		set(walk, state, i.a, result);
}

static void pass_global(struct walk *walk, struct state *state,
			struct bytecode_instruction i)
{
	struct value value = { VALUE_global, constant_text(walk, i.d) };

	tell(walk, MENTION_read, (struct slice){ 0 }, value.text, i.line);
	if (slice_equal(value.text, SLICE("require")))
		value.kind = VALUE_require;
	set(walk, state, i.a, value);
}

/* With more than 256 constants the name stands in a register too. */
static struct slice member_name(const struct walk *walk, const struct state *state,
				struct bytecode_instruction i)
{
	if (i.op == OP_TGETS || i.op == OP_TSETS)
		return constant_text(walk, i.c);
	if (state->registers[i.c].kind == VALUE_text)
		return state->registers[i.c].text;
	return (struct slice){ 0 };
}

static void pass_member(struct walk *walk, struct state *state,
			struct bytecode_instruction i)
{
	struct value from = state->registers[i.b];
	struct slice name = member_name(walk, state, i);
	bool get = i.op == OP_TGETS || i.op == OP_TGETV;

	if (from.kind == VALUE_module)
		tell(walk, get ? MENTION_field : MENTION_set, from.text, name, i.line);
	else if (from.kind == VALUE_global && get)
		tell(walk, MENTION_member, from.text, name, i.line);
	if (get)
		forget(state, i.a);
}

/* Operations that name something, or carry a value on. False: it is none of them. */
static bool pass_known(struct walk *walk, struct state *state,
		       struct bytecode_instruction i)
{
	switch (i.op) {
	case OP_MOV:
		set(walk, state, i.a, state->registers[i.d]);
		return true;
	case OP_KSTR:
		set(walk, state, i.a,
		    (struct value){ VALUE_text, constant_text(walk, i.d) });
		return true;
	case OP_UGET:
		set(walk, state, i.a, walk->upvalues[i.d]);
		return true;
	case OP_GGET:
		pass_global(walk, state, i);
		return true;
	case OP_GSET:
		tell(walk, MENTION_write, (struct slice){ 0 }, constant_text(walk, i.d),
		     i.line);
		return true;
	case OP_TGETS:
	case OP_TGETV:
	case OP_TSETS:
	case OP_TSETV:
		pass_member(walk, state, i);
		return true;
	case OP_FNEW:
		walk_inside(walk, state, i.d);
		forget(state, i.a);
		return true;
	case OP_CALL:
	case OP_CALLM:
	case OP_CALLT:
	case OP_CALLMT:
		pass_call(walk, state, i);
		return true;
	default:
		return false;
	}
}

/* All others, by what they write at most. */
static void pass_other(struct state *state, struct bytecode_instruction i)
{
	switch (i.op) {
	case OP_KNIL:
		for (unsigned at = i.a; at <= i.d && at < state->count; at++)
			forget(state, at);
		break;
	case OP_CAT:
		forget_from(state, i.b);
		forget(state, i.a);
		break;
	case OP_ITERC:
	case OP_ITERN:
	case OP_VARG:
	case OP_FORI:
	case OP_FORL:
		forget_from(state, i.a);
		break;
	case OP_ISNEXT:
	case OP_ITERL:
		forget_from(state, i.a > 3 ? i.a - 3 : 0);
		break;
	case OP_ISTC:
	case OP_ISFC:
	case OP_TGETB:
	case OP_TGETR:
	case OP_TNEW:
	case OP_TDUP:
		forget(state, i.a);
		break;
	default:
		if ((i.op >= OP_NOT && i.op < OP_CAT) ||
		    (i.op >= OP_KCDATA && i.op <= OP_KPRI))
			forget(state, i.a);
	}
}

/* --- one function ----------------------------------------------------------------- */

/* Goes through once. After a jump comes what other jumps lead to, or nothing: taking the
 * way on as well only makes less known. */
static void walk_once(struct walk *walk, struct state *state)
{
	const struct bytecode_function *function = walk->function;

	forget_from(state, 0);
	state->reached = true;
	for (unsigned at = 0; at < function->count; at++) {
		struct bytecode_instruction i = bytecode_at(function, at);
		unsigned target;

		if (walk->meeting[at] >= 0) {
			struct state *here = &walk->states[walk->meeting[at]];

			meet(walk, here, state);
			copy_state(state, here);
		}
		if (!pass_known(walk, state, i))
			pass_other(state, i);
		if (bytecode_target(i, at, &target) && target < function->count)
			meet(walk, &walk->states[walk->meeting[target]], state);
	}
}

/* Gives how many places jumps lead to; finds what functions inside assign. */
static size_t look_over(struct walk *walk)
{
	const struct bytecode_function *function = walk->function;
	size_t count = 0;

	for (unsigned at = 0; at < function->count; at++)
		walk->meeting[at] = -1;
	for (unsigned at = 0; at < function->count; at++) {
		unsigned target;

		if (bytecode_target(bytecode_at(function, at), at, &target) &&
		    target < function->count && walk->meeting[target] < 0)
			walk->meeting[target] = (int)count++;
	}
	for (unsigned k = 0; k < function->constant_count; k++) {
		const struct bytecode_function *inside = function->constants[k].function;

		for (unsigned i = 0; inside && i < inside->upvalue_count; i++)
			if (inside->upvalues[i].local && !inside->upvalues[i].fixed)
				walk->shared[inside->upvalues[i].index] = true;
	}
	return count;
}

/* States for the places, and one more, that moves along. */
static void make_states(struct walk *walk, size_t count)
{
	unsigned registers = walk->function->registers;

	walk->states = mem_zeroed(count, sizeof(*walk->states));
	walk->registers = mem_zeroed(count * registers + 1, sizeof(*walk->registers));
	for (size_t i = 0; i < count; i++)
		walk->states[i] = (struct state){ false, registers,
						  walk->registers + i * registers };
}

static void walk_function(const struct bytecode_function *function,
			  const struct value *upvalues, const struct telling *telling)
{
	struct walk walk = { .function = function, .upvalues = upvalues };
	struct state *state;
	size_t places;

	walk.meeting = mem_zeroed(function->count + 1, sizeof(*walk.meeting));
	places = look_over(&walk);
	make_states(&walk, places + 1);
	state = &walk.states[places];
	do {
		walk.changed = false;
		walk_once(&walk, state);
	} while (walk.changed);
	walk.telling = telling;
	walk_once(&walk, state);
	free(walk.meeting);
	free(walk.states);
	free(walk.registers);
}

/* --- compiling -------------------------------------------------------------------- */

static int append(lua_State *L, const void *part, size_t size, void *context)
{
	buf_append(context, slice_of(part, size));
	return 0;
}

/* "x:12: unexpected symbol near 'y'" */
static bool refuse(const char *message, unsigned *line, struct fault *why)
{
	const char *colon = strchr(message, ':');
	char *end = NULL;

	*line = colon ? (unsigned)strtoul(colon + 1, &end, 10) : 0;
	if (end && *end == ':')
		message = end + 1 + strspn(end + 1, " ");
	return fault_set(why, FAULT_bad_input, "%s", message);
}

bool mention_list(struct slice text, mention_fn *mentioned, void *context, unsigned *line,
		  struct fault *why)
{
	struct telling telling = { mentioned, context };
	const struct value none[REGISTERS_MAX] = { 0 };
	struct bytecode *bytecode = NULL;
	struct buf dump = { 0 };
	lua_State *L = luaL_newstate();
	bool compiled;

	check(L != NULL);
	*line = 0;
	compiled = luaL_loadbufferx(L, text.at ? text.at : "", text.size, "=x", "t") == 0;
	if (compiled && lua_dump(L, append, &dump) == 0)
		bytecode = bytecode_read(buf_slice(&dump));
	else if (!compiled)
		refuse(lua_tostring(L, -1), line, why);
	if (bytecode)
		walk_function(bytecode_main(bytecode), none, &telling);
	else if (compiled)
		fault_set(why, FAULT_internal, "bytecode of a LuaJIT that is not known");
	compiled = bytecode != NULL;
	bytecode_destroy(bytecode);
	buf_finish(&dump);
	lua_close(L);
	return compiled;
}
