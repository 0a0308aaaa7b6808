/* SPDX-License-Identifier: MIT */
/* strings_pattern.h -- find, match, gmatch and gsub, on pattern.h; for strings.c. */
#ifndef SCRIPT_STRINGS_PATTERN_H
#define SCRIPT_STRINGS_PATTERN_H

struct lua_State;

/* Sets them in the table on top of the stack. */
void strings_pattern_open(struct lua_State *L);

#endif
