/* SPDX-License-Identifier: MIT */
/* pg_section.h -- a schema file cut into its numbered migrations. Pure.
 *
 *     -- Only comments and blank lines may stand before the first.
 *     -- migration 1: what it does
 *     create table ...;
 *     -- migration 2: the next step
 *     alter table ...;
 *
 * The numbers are 1, 2, 3 ... without gaps, so that two people who add one each meet in
 * the file.
 */
#ifndef STORE_PG_SECTION_H
#define STORE_PG_SECTION_H

#include "base/fault.h"

#define PG_SECTIONS_MAX 500

struct pg_section { /* borrows from the file's text */
	unsigned version;
	struct slice name;
	struct slice sql; /* without blank space around it */
	unsigned line; /* of the file, where sql begins; from 1 */
};

/* False with why (naming the line) when the text is not of this form. */
bool pg_sections_read(struct slice text, struct pg_section sections[PG_SECTIONS_MAX],
		      size_t *count, struct fault *why);

#endif
