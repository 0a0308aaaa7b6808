/* SPDX-License-Identifier: MIT */
#include "script/pattern.h"

#include "base/check.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

/* Says that the budget is spent at the n-th time it is asked. */
struct patience {
	long left;
	long asked;
};

static bool is_impatient(void *context)
{
	struct patience *patience = context;

	patience->asked++;
	return patience->left-- <= 0;
}

static enum pattern_outcome search_within(struct slice subject, size_t from,
					  struct slice text, struct patience *patience,
					  struct pattern_match *match)
{
	/* Behind the memory, sanitizers watch. */
	void *memory = mem_zeroed(1, pattern_size(text));
	struct pattern_budget budget = { is_impatient, patience, 0 };
	enum pattern_outcome outcome = pattern_search(pattern_compile(memory, text, true),
						      subject, from, &budget, match);

	free(memory);
	return outcome;
}

static enum pattern_outcome search(struct slice subject, struct slice text,
				   struct pattern_match *match)
{
	struct patience patience = { 1000, 0 };

	return search_within(subject, 0, text, &patience, match);
}

/* Expected is the match and its captures, each behind a "|"; NULL: there is none. */
static void expect(struct slice subject, struct slice text, const char *expected)
{
	struct pattern_match match;
	enum pattern_outcome outcome = search(subject, text, &match);
	char found[512];
	int size;

	if (!expected) {
		assert_int_equal(outcome, PATTERN_no);
		return;
	}
	assert_int_equal(outcome, PATTERN_matched);
	size = snprintf(found, sizeof(found), "%.*s", (int)match.size, match.at);
	for (size_t i = 0; i < match.capture_count; i++) {
		struct slice capture = match.captures[i];

		if (capture.size == PATTERN_POSITION)
			size += snprintf(found + size, sizeof(found) - (size_t)size,
					 "|%d", (int)(capture.at - subject.at + 1));
		else
			size += snprintf(found + size, sizeof(found) - (size_t)size,
					 "|%.*s", SLICE_PRINT(capture));
	}
	assert_string_equal(found, expected);
}

static void items_repeat_as_often_as_their_sign_says(void **state)
{
	expect(SLICE("aaab"), SLICE("a*"), "aaa");
	expect(SLICE("aaab"), SLICE("a-b"), "aaab");
	expect(SLICE("aaab"), SLICE("a-"), "");
	expect(SLICE("baaa"), SLICE("a+"), "aaa");
	expect(SLICE("bbb"), SLICE("a+"), NULL);
	expect(SLICE("color colour"), SLICE("colou?r$"), "colour");
	expect(SLICE("aaa"), SLICE("a*a*aaa"), "aaa");
	expect(SLICE("aaa"), SLICE("a*a*aaaa"), NULL);
	expect(SLICE("aXbXc"), SLICE("^(.*)X(.*)$"), "aXbXc|aXb|c");
	expect(SLICE("aXbXc"), SLICE("^(.-)X(.*)$"), "aXbXc|a|bXc");
	expect(SLICE("  a b  "), SLICE("^%s*(.-)%s*$"), "  a b  |a b");
	expect(SLICE("a?b"), SLICE("a%?b"), "a?b");
	expect(SLICE("*+"), SLICE("*+"), "*");
}

static void sets_hold_bytes_ranges_and_classes(void **state)
{
	expect(SLICE("  x_1-"), SLICE("[%w_]+"), "x_1");
	expect(SLICE("abc-d"), SLICE("[a-c%-]+"), "abc-");
	expect(SLICE("]x"), SLICE("[]]"), "]");
	expect(SLICE("]x"), SLICE("[^]]"), "x");
	expect(SLICE("a^"), SLICE("[%^]"), "^");
	expect(SLICE("a-"), SLICE("[a-]+"), "a-");
	expect(SLICE("xyz"), SLICE("[^%z]+"), "xyz");
	expect(SLICE("\xff\x80z"), SLICE("[\x80-\xff]+"), "\xff\x80");
	expect(SLICE("AbC1"), SLICE("%u%l%u%d"), "AbC1");
}

static void captures_nest_count_and_give_positions(void **state)
{
	expect(SLICE("key = value"), SLICE("(%w+)%s*=%s*(%w+)"), "key = value|key|value");
	expect(SLICE("abcd"), SLICE("(a(b)(c))"), "abc|abc|b|c");
	expect(SLICE("hello"), SLICE("l()l()"), "ll|4|5");
	expect(SLICE("say 'it' now"), SLICE("(['\"])(.-)%1"), "'it'|'|it");
	expect(SLICE("abab abba"), SLICE("(a)(b)%2%1"), "abba|a|b");
	expect(SLICE("aab"), SLICE("()%1"), NULL); /* a position is no text */
	expect(SLICE("x"), SLICE("()"), "|1");
}

static void balance_and_frontier_work(void **state)
{
	expect(SLICE("f(a(b)c)d)"), SLICE("%b()"), "(a(b)c)");
	expect(SLICE("f(a(b)c"), SLICE("%b()"), "(b)");
	expect(SLICE("((("), SLICE("%b()"), NULL);
	expect(SLICE("''x"), SLICE("%b''"), "''");
	expect(SLICE("THE (quick) fox"), SLICE("%f[%a]%a+%f[%A]$"), "fox");
	expect(SLICE("THE"), SLICE("%f[%z]"), "");
}

static void zero_is_a_byte_as_others(void **state)
{
	expect(SLICE("a\0b"), SLICE("a%zb"), "a");
	struct pattern_match match;

	assert_int_equal(search(SLICE("x\0y"), SLICE("\0(y)"), &match), PATTERN_matched);
	assert_int_equal(match.size, 2);
	assert_int_equal(search(SLICE("x\0y"), SLICE("[^\0]\0[a-z]"), &match),
			 PATTERN_matched);
	assert_int_equal(match.size, 3);
	assert_int_equal(search((struct slice){ NULL, 0 }, SLICE("^$"), &match),
			 PATTERN_matched);
	assert_int_equal(search(SLICE("x"), (struct slice){ NULL, 0 }, &match),
			 PATTERN_matched);
}

static void a_search_begins_where_it_is_told(void **state)
{
	struct patience patience = { 1000, 0 };
	struct pattern_match match;
	struct slice subject = SLICE("one two one");

	assert_int_equal(search_within(subject, 1, SLICE("one"), &patience, &match),
			 PATTERN_matched);
	assert_ptr_equal(match.at, subject.at + 8);
	assert_int_equal(search_within(subject, 4, SLICE("^two"), &patience, &match),
			 PATTERN_matched);
	assert_int_equal(search_within(subject, 5, SLICE("^two"), &patience, &match),
			 PATTERN_no);
	assert_int_equal(search_within(subject, 11, SLICE("()"), &patience, &match),
			 PATTERN_matched);
	assert_int_equal(search_within(subject, 1, SLICE("%f[%w]ne"), &patience, &match),
			 PATTERN_no); /* what is before still counts */
}

static void a_malformed_pattern_is_told_where_it_is_reached(void **state)
{
	static const struct {
		struct slice text;
		const char *why;
	} cases[] = {
		{ SLICE("a%"), "malformed pattern (ends with '%')" },
		{ SLICE("a["), "malformed pattern (missing ']')" },
		{ SLICE("a[]"), "malformed pattern (missing ']')" },
		{ SLICE("a[^]"), "malformed pattern (missing ']')" },
		{ SLICE("a[%"), "malformed pattern (missing ']')" },
		{ SLICE("a[%]"), "malformed pattern (missing ']')" },
		{ SLICE("a%f"), "missing '[' after '%f' in pattern" },
		{ SLICE("a%f["), "malformed pattern (missing ']')" },
		{ SLICE("a%b("), "unbalanced pattern" },
		{ SLICE("a)"), "invalid pattern capture" },
		{ SLICE("(a"), "unfinished capture" },
		{ SLICE("(((("), "unfinished capture" },
		{ SLICE("(a%1)"), "invalid capture index" },
		{ SLICE("a%0"), "invalid capture index" },
		{ SLICE("()()()()()()()()()()()()()()()()()()()()()()()()()()()()()()()()"
			"()"),
		  "too many captures" },
	};
	struct pattern_match match;

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		assert_int_equal(search(SLICE("ab"), cases[i].text, &match),
				 PATTERN_malformed);
		assert_string_equal(match.why, cases[i].why);
	}
	assert_int_equal(search(SLICE("b"), SLICE("a["), &match), PATTERN_no);
}

static void a_catastrophic_pattern_ends_with_its_budget(void **state)
{
	static const struct slice cases[] = {
		SLICE(".-.-.-.-.-.-.-.-.-.-b"),
		SLICE("a*a*a*a*a*a*a*a*a*a*b"),
		SLICE("a?a?a?a?a?a?a?a?a?a?a?a?a?a?a?a?a?a?a?a?a?a?a?a?a?a?a?a?a?b$"),
		SLICE("(a*)(a*)(a*)(a*)(a*)%1%2%3%4%5b"),
		SLICE("(.-)(.-)(.-)(.-)(.-)(.-)%1x"),
		SLICE("[^b]*%f[b]x[^b]*a*a*a*a*a*a*b"),
		SLICE(".*.*.*.*.*[^a]"),
	};
	char *as = mem_zeroed(1, 3000);
	struct pattern_match match;

	memset(as, 'a', 3000);
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct patience patience = { 100, 0 };
		enum pattern_outcome outcome =
			search_within(slice_of(as, 3000), 0, cases[i], &patience, &match);

		if (outcome != PATTERN_no) /* one byte ahead can tell some at once */
			assert_int_equal(outcome, PATTERN_spent);
		assert_in_range(patience.asked, 1, 101);
	}
	free(as);
}

static void a_quadratic_scan_is_counted_too(void **state)
{
	static const struct slice cases[] = { SLICE("a*$b"), SLICE("a-c"), SLICE("a+c"),
					      SLICE("%b(x"), SLICE(".-c[d]") };
	char *text = mem_zeroed(1, 1 << 20);
	struct pattern_match match;

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct patience patience = { 100, 0 };

		memset(text, i == 3 ? '(' : 'a', 1 << 20);
		if (i == 4)
			memset(text, 'c', 1 << 20);
		assert_int_equal(search_within(slice_of(text, 1 << 20), 0, cases[i],
					       &patience, &match),
				 PATTERN_spent);
	}
	free(text);
}

static void what_is_long_but_simple_needs_no_stack(void **state)
{
	size_t size = 4 << 20;
	char *text = mem_zeroed(1, size);
	struct patience patience = { 1000000, 0 };
	struct pattern_match match;

	memset(text, 'a', size);
	assert_int_equal(search_within(slice_of(text, size), 0, SLICE("^(a*)$"),
				       &patience, &match),
			 PATTERN_matched);
	assert_int_equal(search_within(slice_of(text, size), 0, SLICE("^(a-)$"),
				       &patience, &match),
			 PATTERN_matched);
	assert_int_equal(search_within(slice_of(text, size), 0, SLICE("^[ab]*.-$"),
				       &patience, &match),
			 PATTERN_matched);
	assert_int_equal(match.size, size);
	/* the same text as a pattern */
	assert_int_equal(search_within(slice_of(text, size), 0, slice_of(text, size),
				       &patience, &match),
			 PATTERN_matched);
	free(text);
}

static void too_many_open_choices_are_too_complex(void **state)
{
	char pattern[2 * (PATTERN_CHOICES_MAX + 1) + 1], text[PATTERN_CHOICES_MAX + 2];
	struct pattern_match match;

	for (size_t i = 0; i <= PATTERN_CHOICES_MAX; i++) {
		pattern[2 * i] = 'a';
		pattern[2 * i + 1] = '?';
	}
	memset(text, 'a', sizeof(text));
	assert_int_equal(search(slice_of(text, sizeof(text)),
				slice_of(pattern, 2 * PATTERN_CHOICES_MAX), &match),
			 PATTERN_matched);
	assert_int_equal(search(slice_of(text, sizeof(text)),
				slice_of(pattern, 2 * PATTERN_CHOICES_MAX + 2), &match),
			 PATTERN_malformed);
	assert_string_equal(match.why, "pattern too complex");
}

static void any_bytes_are_a_pattern_or_say_why_not(void **state)
{
	static const char alphabet[] = "ab]^-%%[[()$.*+?-b0f12\0";
	uint32_t random = 1;
	char text[24];

	for (int round = 0; round < 200000; round++) {
		struct patience patience = { 20, 0 };
		struct pattern_match match;
		size_t size, subject;

		for (size_t i = 0; i < sizeof(text); i++) {
			random = random * 1664525 + 1013904223;
			text[i] = alphabet[(random >> 16) % (sizeof(alphabet) - 1)];
		}
		size = (random >> 8) % 16;
		subject = (random >> 12) % 8;
		if (search_within(slice_of(text + 16, subject), subject / 2,
				  slice_of(text, size), &patience,
				  &match) != PATTERN_matched)
			continue;
		assert_true(match.at >= text + 16 + subject / 2 &&
			    match.at + match.size <= text + 16 + subject);
		for (size_t i = 0; i < match.capture_count; i++) {
			struct slice capture = match.captures[i];
			size_t took = capture.size == PATTERN_POSITION ? 0 : capture.size;

			assert_true(capture.at >= match.at &&
				    capture.at + took <= match.at + match.size);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(items_repeat_as_often_as_their_sign_says),
		cmocka_unit_test(sets_hold_bytes_ranges_and_classes),
		cmocka_unit_test(captures_nest_count_and_give_positions),
		cmocka_unit_test(balance_and_frontier_work),
		cmocka_unit_test(zero_is_a_byte_as_others),
		cmocka_unit_test(a_search_begins_where_it_is_told),
		cmocka_unit_test(a_malformed_pattern_is_told_where_it_is_reached),
		cmocka_unit_test(a_catastrophic_pattern_ends_with_its_budget),
		cmocka_unit_test(a_quadratic_scan_is_counted_too),
		cmocka_unit_test(what_is_long_but_simple_needs_no_stack),
		cmocka_unit_test(too_many_open_choices_are_too_complex),
		cmocka_unit_test(any_bytes_are_a_pattern_or_say_why_not),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
