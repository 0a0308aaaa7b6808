/* SPDX-License-Identifier: MIT */
#include "http/http_url.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

static bool equal(struct slice s, const char *text)
{
	return slice_equal(s, slice_text(text));
}

static void a_url_is_taken_apart(void **state)
{
	static const struct {
		const char *text, *host, *authority, *target, *path;
		unsigned port;
		bool missing;
	} cases[] = {
		{ "http://a", "a", "a", "", "", 80, true },
		{ "http://a/", "a", "a", "/", "/", 80, false },
		{ "HTTP://a:81", "a", "a:81", "", "", 81, true },
		{ "http://a?x=1", "a", "a", "?x=1", "", 80, true },
		{ "http://a.b-c_d:65535/x/y?z=/?", "a.b-c_d", "a.b-c_d:65535",
		  "/x/y?z=/?", "/x/y", 65535, false },
		{ "http://127.0.0.1:8001/v1", "127.0.0.1", "127.0.0.1:8001", "/v1", "/v1",
		  8001, false },
		{ "http://[::1]/x", "::1", "[::1]", "/x", "/x", 80, false },
		{ "http://[fe80::1]:99", "fe80::1", "[fe80::1]:99", "", "", 99, true },
		{ "http://a/x@y", "a", "a", "/x@y", "/x@y", 80, false },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct http_url url;
		struct fault why;

		assert_true(http_url_parse(slice_text(cases[i].text), &url, &why));
		assert_true(equal(url.host, cases[i].host));
		assert_true(equal(url.authority, cases[i].authority));
		assert_true(equal(url.target, cases[i].target));
		assert_true(equal(url.path, cases[i].path));
		assert_int_equal(url.port, cases[i].port);
		assert_int_equal(url.path_missing, cases[i].missing);
	}
}

static void what_is_no_url_is_refused_without_being_repeated(void **state)
{
	static const char *const cases[] = {
		"",
		"a",
		"http:/a",
		"http://",
		"http:///x",
		"https://a/",
		"ftp://a/",
		"http://secret:word@a/",
		"http://secret@a/",
		"http://a:/",
		"http://a:0/",
		"http://a:65536/",
		"http://a:8x/",
		"http://a:80:80/",
		"http://[::1/",
		"http://[]/",
		"http://[::1]x/",
		"http://::1/",
		"http://a b/",
		"http://a/x y",
		"http://a/\r\nHost: b",
		"http://a/#x",
		"http://a%2f/",
		"http://\xc3\xa4/",
		"http://a/\x7f",
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct http_url url;
		struct fault why = { 0 };

		assert_false(http_url_parse(slice_text(cases[i]), &url, &why));
		assert_int_equal(why.kind, FAULT_bad_input);
		assert_null(strstr(why.detail, "secret"));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_url_is_taken_apart),
		cmocka_unit_test(what_is_no_url_is_refused_without_being_repeated),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
