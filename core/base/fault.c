/* SPDX-License-Identifier: MIT */
/* fault.c -- the table of fault.def, and filling a struct fault. */
#include "base/fault.h"

#include "base/check.h"

#include <stdio.h>

static const struct {
	const char *name;
	const char *title;
	const char *meaning;
	int status;
} kinds[FAULT_kinds] = {
	[FAULT_none] = { "none", "No failure", "Nothing failed.", 200 },
#define FAULT(name, status, title, meaning)                                              \
	[FAULT_##name] = { #name, title, meaning, status },
#include "base/fault.def"
#undef FAULT
};

__attribute__((format(printf, 4, 0))) static void
fault_fill(struct fault *why, enum fault_kind kind, int status, const char *format,
	   va_list args)
{
	if (why == NULL)
		return;
	why->kind = kind;
	why->status = status;
	vsnprintf(why->detail, sizeof(why->detail), format, args);
}

bool fault_set(struct fault *why, enum fault_kind kind, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	fault_fill(why, kind, 0, format, args);
	va_end(args);
	return false;
}

bool fault_set_status(struct fault *why, enum fault_kind kind, int status,
		      const char *format, ...)
{
	va_list args;

	va_start(args, format);
	fault_fill(why, kind, status, format, args);
	va_end(args);
	return false;
}

const char *fault_name(enum fault_kind kind)
{
	check((unsigned)kind < FAULT_kinds);
	return kinds[kind].name;
}

const char *fault_title(enum fault_kind kind)
{
	check((unsigned)kind < FAULT_kinds);
	return kinds[kind].title;
}

const char *fault_meaning(enum fault_kind kind)
{
	check((unsigned)kind < FAULT_kinds);
	return kinds[kind].meaning;
}

enum fault_kind fault_kind_of(struct slice name)
{
	for (int kind = FAULT_none + 1; kind < FAULT_kinds; kind++)
		if (slice_equal(name, slice_text(kinds[kind].name)))
			return (enum fault_kind)kind;
	return FAULT_none;
}

int fault_status(const struct fault *why)
{
	check((unsigned)why->kind < FAULT_kinds);
	return why->status ? why->status : kinds[why->kind].status;
}
