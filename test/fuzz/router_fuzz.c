/* SPDX-License-Identifier: MIT */
/* router_fuzz.c -- any templates, any path, and the rule said plainly.
 *
 * The input is lines: templates to add, and last the path. A path that is found fits the
 * template it was given, and no other template that fits has an earlier literal segment.
 *
 *     clang -g -fsanitize=fuzzer,address,undefined -D_GNU_SOURCE -Icore -o router_fuzz \
 *         test/fuzz/router_fuzz.c core/http/router.c core/base/[a-z]*.c -lm
 */
#include "base/check.h"
#include "http/router.h"

#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Whether the template has the shape of the path, and which segments are literal. */
static bool template_fits(struct slice template, struct slice path, uint32_t *literals)
{
	struct slice a, b;

	*literals = 0;
	while (slice_cut(&template, '/', &a)) {
		bool named = a.size && a.at[0] == ':';

		if (!slice_cut(&path, '/', &b) || (named && b.size == 0) ||
		    (!named && !slice_equal(a, b)))
			return false;
		*literals = *literals << 1 | !named;
	}
	return path.at == NULL;
}

static void check_found(const struct router *router, struct slice path,
			const struct router_match *match)
{
	uint32_t ours, others;

	check(template_fits(match->route->template, path, &ours));
	for (size_t i = 0; i < router_count(router); i++)
		check(!template_fits(router_at(router, i)->template, path, &others) ||
		      others <= ours);
	for (size_t i = 0; i < match->param_count; i++)
		check(match->params[i].value.size > 0 && match->params[i].name.size > 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct router *router = router_create();
	struct slice rest = slice_of((const char *)data, size), line = SLICE("");
	struct router_match match;
	struct buf scratch = { 0 };
	struct fault why;

	while (rest.at && slice_cut(&rest, '\n', &line) && rest.at)
		router_add(router, SLICE("GET"), line, NULL, &why);
	switch (router_match(router, SLICE("GET"), line, &match, &scratch)) {
	case ROUTER_found:
		check_found(router, line, &match);
		break;
	case ROUTER_method:
		check(false); /* all of them are GET */
		break;
	case ROUTER_missing:
		break;
	}
	check(router_match(router, SLICE("PUT"), line, &match, &scratch) != ROUTER_found);
	buf_finish(&scratch);
	router_destroy(router);
	return 0;
}
