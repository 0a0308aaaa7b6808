/* SPDX-License-Identifier: MIT */
/* mention.h -- what a script's text names: globals, modules, and fields of modules.
 *
 * The chunk is compiled and not run; its bytecode is followed (bytecode.h), so that
 * scopes are exact: a local or a parameter called `json` is no module. A value is known
 * to be a module when it comes from require "literal" on every way that leads to a place,
 * through locals and upvalues that are never assigned again. Where that is in doubt
 * nothing is said.
 */
#ifndef SCRIPT_MENTION_H
#define SCRIPT_MENTION_H

#include "base/fault.h"

enum mention_kind {
	MENTION_read, /* of the global `name` */
	MENTION_write, /* to the global `name` */
	MENTION_require, /* of the module `name` */
	MENTION_field, /* `name` is read from the module `of` */
	MENTION_set, /* `name` is set in the module `of` */
	MENTION_member, /* `name` is read from the global `of`: string.format */
};

struct mention {
	enum mention_kind kind;
	struct slice of;
	struct slice name;
	unsigned line;
};

/* Borrowed during the call. */
typedef void mention_fn(void *context, const struct mention *mention);

/* Tells everything the text mentions; functions inside come where they are made. False
 * with why and the line when the text does not compile (or the compiler is a strange one:
 * line 0): nothing is told then. Any thread. */
bool mention_list(struct slice text, mention_fn *mentioned, void *context, unsigned *line,
		  struct fault *why);

#endif
