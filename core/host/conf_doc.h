/* SPDX-License-Identifier: MIT */
/* conf_doc.h -- the settings of conf.def as a table, for commands that tell of them. */
#ifndef HOST_CONF_DOC_H
#define HOST_CONF_DOC_H

#include "base/slice.h"

enum conf_kind { CONF_text, CONF_number, CONF_secret };

struct conf_doc {
	const char *name;
	enum conf_kind kind;
	const char *otherwise; /* the default, as text; "" for a secret */
	unsigned long least, most; /* of a number */
	const char *why;
};

/* Sorted by name; ends with a name NULL. */
extern const struct conf_doc conf_docs[];

/* NULL: there is no such setting. */
const struct conf_doc *conf_doc_of(struct slice name);

#endif
