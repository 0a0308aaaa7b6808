/* SPDX-License-Identifier: MIT */
#include "host/conf_doc.h"

const struct conf_doc conf_docs[] = {
#define TEXT(name, value, why) { #name, CONF_text, value, 0, 0, why },
#define SECRET(name, why) { #name, CONF_secret, "", 0, 0, why },
#define NUMBER(name, value, least, most, why)                                            \
	{ #name, CONF_number, #value, least, most, why },
#include "host/conf.def"
#undef TEXT
#undef SECRET
#undef NUMBER
	{ 0 }
};

const struct conf_doc *conf_doc_of(struct slice name)
{
	for (const struct conf_doc *doc = conf_docs; doc->name; doc++)
		if (slice_equal(name, slice_text(doc->name)))
			return doc;
	return NULL;
}
