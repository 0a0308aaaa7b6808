/* SPDX-License-Identifier: MIT */
#include "api/error_page.h"

#include "script/excerpt.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static struct buf out;

static int finish(void **state)
{
	buf_finish(&out);
	return 0;
}

static void assert_shows(const char *part)
{
	if (!strstr(buf_text(&out), part))
		fail_msg("'%s' is not in: %s", part, buf_text(&out));
}

static void assert_wanted(const char *accept, bool wanted)
{
	if (error_page_wanted(slice_text(accept)) != wanted)
		fail_msg("%s a page: %s", wanted ? "not" : "is", accept);
}

static void browsers_want_a_page(void **state)
{
	assert_wanted("text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,"
		      "image/webp,image/apng,*/*;q=0.8",
		      true);
	assert_wanted("text/html", true);
	assert_wanted("TEXT/HTML ; level=1 ; q=0.5, application/json; q=0.4", true);
	assert_wanted("text/*, application/json;q=0.9", true);
	assert_wanted("*/*;q=0.1, text/html;q=0.2", true);
	assert_wanted("text/html;q=1.000, application/json;q=0.999", true);
}

static void programs_do_not(void **state)
{
	assert_wanted("", false);
	assert_wanted("*/*", false);
	assert_wanted("application/json", false);
	assert_wanted("application/json, text/plain, */*", false);
	assert_wanted("text/html, application/json", false);
	assert_wanted("text/html;q=0", false);
	assert_wanted("text/html;q=high", false);
	assert_wanted("text/html;q=0.4, application/problem+json;q=0.5", false);
	assert_wanted("text/html;q=0.4, application/*;q=0.5", false);
	assert_wanted(",;,;q=,", false);
}

static void write(struct error_page page)
{
	static const struct excerpt none;

	page.excerpt = page.excerpt ? page.excerpt : &none;
	page.method = SLICE("GET");
	page.path = page.path.size ? page.path : SLICE("/");
	buf_reset(&out);
	error_page_write(&page, &out);
}

static void a_page_tells_what_where_and_how(void **state)
{
	struct fault why = { .kind = FAULT_internal,
			     .detail = "scripts/x/service.lua:2: it broke" };
	struct excerpt excerpt = { .file = SLICE("scripts/x/service.lua"), .line = 2 };

	excerpt_fill(&excerpt, SLICE("local x\nreturn x.y\n"));
	write((struct error_page){ .why = &why,
				   .excerpt = &excerpt,
				   .traceback =
					   SLICE("stack traceback:\n\ta.lua:2: in f"),
				   .trace_id = SLICE("0123"),
				   .generation = 12 });
	assert_shows("<title>500 Internal error: GET /</title>");
	assert_shows("<b>500</b>");
	assert_shows(">internal</span>");
	assert_shows(">it broke</p>");
	assert_shows(">scripts/x/service.lua:2</h2>");
	assert_shows("<li><i>1</i><span>local x</span></li>");
	assert_shows(
		"<li class=\"here\" aria-current=\"true\"><i>2</i><span>return x.y<");
	assert_shows("<li>a.lua:2: in f</li>");
	assert_shows("trace <code>0123</code>");
	assert_shows("generation <code>12</code>");
	assert_shows("prefers-color-scheme:dark");
}

static void what_is_not_known_leaves_no_gap(void **state)
{
	struct fault why = { .kind = FAULT_limit, .status = 503, .detail = "full" };

	write((struct error_page){ .why = &why });
	assert_shows("<b>503</b>Limit reached");
	assert_null(strstr(buf_text(&out), "<section"));
	assert_null(strstr(buf_text(&out), "generation <code>"));
	assert_null(strstr(buf_text(&out), "trace <code>"));
}

/* Whatever a client, a script or a file brings stays text. */
static void everything_is_escaped(void **state)
{
	static const char evil[] = "</p></title></style><script>alert('\"&')</script>";
	struct fault why = { .kind = FAULT_internal };
	struct excerpt excerpt = { .file = slice_text(evil), .line = 1 };
	size_t markup = 0;

	memcpy(why.detail, evil, sizeof(evil));
	excerpt_fill(&excerpt, slice_text(evil));
	write((struct error_page){ .why = &why,
				   .path = slice_text(evil),
				   .excerpt = &excerpt,
				   .traceback = slice_text(evil),
				   .trace_id = slice_text(evil) });
	assert_null(strstr(buf_text(&out), "<script"));
	assert_null(strstr(buf_text(&out), "alert('"));
	assert_shows("&lt;script&gt;alert(&#39;&quot;&amp;&#39;)&lt;/script&gt;");
	for (const char *at = buf_text(&out); (at = strstr(at, "</style>")); at++)
		markup++;
	assert_int_equal(markup, 1);
}

static void bytes_that_are_no_text_are_marked(void **state)
{
	struct fault why = { .kind = FAULT_internal, .detail = "a\xff\x01z\xc3\xa4\x1b" };

	write((struct error_page){ .why = &why });
	assert_shows(">a\xEF\xBF\xBD\xEF\xBF\xBDz\xc3\xa4\xEF\xBF\xBD</p>");
}

int main(void)
{
	const struct CMUnitTest claims[] = {
		cmocka_unit_test(browsers_want_a_page),
		cmocka_unit_test(programs_do_not),
		cmocka_unit_test(a_page_tells_what_where_and_how),
		cmocka_unit_test(what_is_not_known_leaves_no_gap),
		cmocka_unit_test(everything_is_escaped),
		cmocka_unit_test(bytes_that_are_no_text_are_marked),
	};

	return cmocka_run_group_tests(claims, NULL, finish);
}
