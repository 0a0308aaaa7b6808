/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "base/random.h"
#include "http/router.h"

#include <cmocka.h>

static const char *const templates[] = {
	"GET /",
	"GET /api/v1/orders",
	"POST /api/v1/orders",
	"GET /api/v1/orders/:id",
	"DELETE /api/v1/orders/:id",
	"GET /api/v1/orders/latest",
	"GET /api/v1/orders/:id/lines/:line",
	"POST /api/v1/orders/latest/print",
	"GET /:any",
	"PUT /files/a:b/x.y~z",
};

#define ROUTES (sizeof(templates) / sizeof(templates[0]))

static struct router *router_of_templates(void)
{
	struct router *router = router_create();

	for (size_t i = 0; i < ROUTES; i++) {
		struct slice rest = slice_text(templates[i]), method;
		struct fault why;

		assert_true(slice_cut(&rest, ' ', &method));
		assert_true(router_add(router, method, rest, (void *)templates[i], &why));
	}
	return router;
}

static void paths_find_their_routes(void **state)
{
	static const struct {
		const char *method, *path;
		int route; /* -1 missing, -2 method */
		const char *params; /* "name=value ...", or the Allow header */
	} cases[] = {
		{ "GET", "/", 0, "" },
		{ "HEAD", "/", 0, "" },
		{ "POST", "/", -2, "GET, HEAD" },
		{ "GET", "/api/v1/orders", 1, "" },
		{ "POST", "/api/v1/orders", 2, "" },
		{ "PATCH", "/api/v1/orders", -2, "GET, HEAD, POST" },
		{ "GET", "/api/v1/orders/", -1, "" },
		{ "GET", "/api/v1/orders/7", 3, "id=7 " },
		{ "DELETE", "/api/v1/orders/7", 4, "id=7 " },
		{ "POST", "/api/v1/orders/7", -2, "DELETE, GET, HEAD" },
		{ "GET", "/api/v1/orders/latest", 5, "" },
		{ "DELETE", "/api/v1/orders/latest", -2, "GET, HEAD" },
		{ "GET", "/api/v1/orders/latest/lines/3", 6, "id=latest line=3 " },
		{ "POST", "/api/v1/orders/latest/print", 7, "" },
		{ "POST", "/api/v1/orders/7/print", -1, "" },
		{ "GET", "/api/v1/orders/7/lines/", -1, "" },
		{ "GET", "/api/v1/orders//lines/3", -1, "" },
		{ "GET", "/api/v1/orders/a%20b/lines/%C3%A9%2F", 6,
		  "id=a b line=\xC3\xA9/ " },
		{ "GET", "/api/v1/orders/%7/lines/3", -1, "" },
		{ "GET", "/api/v1/orders/%zz", -1, "" },
		{ "GET", "/api/v1/orders/a%00b", -1, "" },
		{ "GET", "/api/v1/orders/50%", -1, "" },
		{ "GET", "/api", 8, "any=api " },
		{ "GET", "//", -1, "" },
		{ "GET", "/api/v1", -1, "" },
		{ "GET", "/api/v1/%6Frders", -1, "" },
		{ "PUT", "/files/a:b/x.y~z", 9, "" },
		{ "GET", "*", -1, "" },
		{ "GET", "", -1, "" },
		{ "get", "/", -2, "GET, HEAD" },
	};
	struct router *router = router_of_templates();
	struct buf scratch = { 0 };

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct router_match match;
		char params[256] = "";
		enum router_outcome outcome;

		buf_reset(&scratch);
		outcome = router_match(router, slice_text(cases[i].method),
				       slice_text(cases[i].path), &match, &scratch);
		for (size_t p = 0; p < match.param_count; p++)
			snprintf(params + strlen(params), sizeof(params) - strlen(params),
				 "%.*s=%.*s ", SLICE_PRINT(match.params[p].name),
				 SLICE_PRINT(match.params[p].value));
		if (cases[i].route >= 0) {
			if (outcome != ROUTER_found ||
			    match.route->index != (unsigned)cases[i].route ||
			    match.route->handler != templates[cases[i].route] ||
			    strcmp(params, cases[i].params) != 0)
				fail_msg("%s %s: %d %s", cases[i].method, cases[i].path,
					 outcome, params);
		} else if (cases[i].route == -1) {
			if (outcome != ROUTER_missing)
				fail_msg("%s %s: %d", cases[i].method, cases[i].path,
					 outcome);
		} else if (outcome != ROUTER_method ||
			   strcmp(match.allow, cases[i].params) != 0 || !match.sibling) {
			fail_msg("%s %s: %d %s", cases[i].method, cases[i].path, outcome,
				 match.allow);
		}
	}
	buf_finish(&scratch);
	router_destroy(router);
}

static void routes_are_kept_in_order_and_copied(void **state)
{
	struct router *router = router_create();
	char method[] = "GET", template[] = "/a/:b";
	struct fault why;

	assert_true(
		router_add(router, slice_text(method), slice_text(template), NULL, &why));
	memset(method, 'x', 3);
	memset(template, 'x', 5);
	assert_int_equal(router_count(router), 1);
	assert_true(slice_equal(router_at(router, 0)->method, SLICE("GET")));
	assert_true(slice_equal(router_at(router, 0)->template, SLICE("/a/:b")));
	router_destroy(router);
	router_destroy(NULL);
}

static void bad_templates_are_refused_and_change_nothing(void **state)
{
	static const char *const bad[] = {
		"",
		"GET",
		"GET a",
		"GET //",
		"GET /a/",
		"GET /a//b",
		"GET /:",
		"GET /:1",
		"GET /:a-b",
		"GET /a b",
		"GET /a?b",
		"GET /%41",
		"get /a",
		" /a",
		"GET /:a/:a",
		"GET /\xC3\xA9",
		"G3T /a",
		"GET /a/:id",
		"AVERYVERYVERYLONGMETHOD /a",
		"GET /:a/:b/:c/:d/:e/:f/:g/:h/:i",
		"GET /1/2/3/4/5/6/7/8/9/10/11/12/13/14/15/16/17",
	};
	struct router *router = router_create();
	struct router_match match;
	struct buf scratch = { 0 };
	struct fault why;

	assert_true(router_add(router, SLICE("GET"), SLICE("/a/:name"), NULL, &why));
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct slice rest = slice_text(bad[i]), method = SLICE("");

		slice_cut(&rest, ' ', &method);
		why.kind = FAULT_none;
		if (router_add(router, method, rest, NULL, &why))
			fail_msg("'%s' was taken", bad[i]);
		assert_int_equal(why.kind, FAULT_bad_input);
	}
	assert_int_equal(router_count(router), 1);
	assert_int_equal(
		router_match(router, SLICE("GET"), SLICE("/a/x"), &match, &scratch),
		ROUTER_found);
	assert_true(slice_equal(match.params[0].name, SLICE("name")));
	router_destroy(router);
}

static void the_allow_header_never_overflows(void **state)
{
	struct router *router = router_create();
	struct router_match match;
	struct buf scratch = { 0 };
	struct fault why;
	int taken = 0;

	for (char c = 'A'; c <= 'Z'; c++) {
		char method[] = "?LONGMETHOD";

		method[0] = c;
		taken += router_add(router, slice_text(method), SLICE("/"), NULL, &why);
	}
	assert_true(taken > 2 && taken < 26);
	assert_int_equal((int)router_count(router), taken);
	assert_int_equal(router_match(router, SLICE("GET"), SLICE("/"), &match, &scratch),
			 ROUTER_method);
	assert_true(strlen(match.allow) < sizeof(match.allow));
	router_destroy(router);
}

static void a_match_without_escapes_touches_no_memory(void **state)
{
	struct router *router = router_of_templates();
	struct router_match match;
	struct buf scratch = { 0 };

	assert_int_equal(router_match(router, SLICE("GET"),
				      SLICE("/api/v1/orders/7/lines/9"), &match,
				      &scratch),
			 ROUTER_found);
	assert_null(scratch.at);
	router_destroy(router);
}

static void many_escaped_segments_do_not_move_each_other(void **state)
{
	struct router *router = router_create();
	struct router_match match;
	struct buf scratch = { 0 }, path = { 0 };
	struct fault why;

	assert_true(router_add(router, SLICE("GET"), SLICE("/:a/:b/:c/:d/:e/:f/:g/:h"),
			       NULL, &why));
	for (int segment = 0; segment < 8; segment++) {
		buf_append_byte(&path, '/');
		for (int i = 0; i < 50 + segment; i++)
			buf_printf(&path, "%%%02X", 'a' + segment);
	}
	assert_int_equal(
		router_match(router, SLICE("GET"), buf_slice(&path), &match, &scratch),
		ROUTER_found);
	for (int segment = 0; segment < 8; segment++) {
		assert_int_equal(match.params[segment].value.size, 50 + segment);
		for (int i = 0; i < 50 + segment; i++)
			assert_int_equal(match.params[segment].value.at[i],
					 'a' + segment);
	}
	buf_finish(&scratch);
	buf_finish(&path);
	router_destroy(router);
}

/* The rule, said plainly and slowly: of all routes whose template fits the path, those
 * with the earliest literal segment where they differ. */
static bool template_fits(struct slice template, struct slice path, unsigned *literals)
{
	struct slice a, b;

	*literals = 0;
	while (slice_cut(&template, '/', &a)) {
		if (!slice_cut(&path, '/', &b))
			return false;
		*literals = *literals << 1;
		if (a.size && a.at[0] == ':') {
			if (b.size == 0)
				return false;
		} else if (slice_equal(a, b)) {
			*literals |= 1;
		} else {
			return false;
		}
	}
	return path.at == NULL;
}

static void random_routers_agree_with_the_plain_rule(void **state)
{
	static const char *const parts[] = { "a", "b", ":x" };
	struct random random;
	struct buf scratch = { 0 };

	random_init(&random, 11);
	for (int round = 0; round < 300; round++) {
		struct router *router = router_create();

		for (int i = 0; i < 8; i++) {
			struct buf template = { 0 };
			size_t depth = 1 + random_below(&random, 4);
			struct fault why;

			for (size_t d = 0; d < depth; d++) {
				const char *part = parts[random_below(&random, 3)];

				buf_printf(&template, *part == ':' ? "/%s%zu" : "/%s",
					   part, d);
			}
			router_add(router, SLICE("GET"), buf_slice(&template), NULL,
				   &why);
			buf_finish(&template);
		}
		for (int i = 0; i < 40; i++) {
			struct router_match match;
			struct buf path = { 0 };
			size_t depth = 1 + random_below(&random, 4);
			const struct route *best = NULL;
			unsigned best_literals = 0, literals;
			enum router_outcome outcome;

			for (size_t d = 0; d < depth; d++)
				buf_printf(&path, "/%c",
					   (char)('a' + random_below(&random, 3)));
			for (size_t r = 0; r < router_count(router); r++) {
				const struct route *route = router_at(router, r);

				if (template_fits(route->template, buf_slice(&path),
						  &literals) &&
				    (!best || literals > best_literals)) {
					best = route;
					best_literals = literals;
				}
			}
			outcome = router_match(router, SLICE("GET"), buf_slice(&path),
					       &match, &scratch);
			assert_int_equal(outcome, best ? ROUTER_found : ROUTER_missing);
			assert_ptr_equal(match.route, best);
			buf_finish(&path);
		}
		router_destroy(router);
	}
	buf_finish(&scratch);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(paths_find_their_routes),
		cmocka_unit_test(routes_are_kept_in_order_and_copied),
		cmocka_unit_test(bad_templates_are_refused_and_change_nothing),
		cmocka_unit_test(the_allow_header_never_overflows),
		cmocka_unit_test(a_match_without_escapes_touches_no_memory),
		cmocka_unit_test(many_escaped_segments_do_not_move_each_other),
		cmocka_unit_test(random_routers_agree_with_the_plain_rule),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
