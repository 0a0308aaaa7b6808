/* SPDX-License-Identifier: MIT */
#include "base/digest.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

/* The vectors that FNV's authors published. */
static void texts_have_their_published_digests(void **state)
{
	static const struct {
		const char *text;
		uint64_t digest;
	} known[] = { { "", 0xcbf29ce484222325u },
		      { "a", 0xaf63dc4c8601ec8cu },
		      { "foobar", 0x85944171f73967e8u } };

	for (size_t i = 0; i < sizeof(known) / sizeof(*known); i++)
		assert_true(digest_add(DIGEST_START, known[i].text,
				       strlen(known[i].text)) == known[i].digest);
}

static void a_text_may_come_in_parts(void **state)
{
	assert_true(digest_add(digest_add(DIGEST_START, "foo", 3), "bar", 3) ==
		    digest_add(DIGEST_START, "foobar", 6));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(texts_have_their_published_digests),
		cmocka_unit_test(a_text_may_come_in_parts),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
