/* SPDX-License-Identifier: MIT */
#include "http/address_set.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static bool has(const char *list, const char *text)
{
	struct fault why = { 0 };
	struct address_set *set = address_set_create(slice_text(list), &why);
	struct address address;
	bool found;

	if (!set)
		fail_msg("%s: %s", list, why.detail);
	assert_true(address_read(slice_text(text), &address));
	found = address_set_has(set, &address);
	address_set_destroy(set);
	return found;
}

static void an_address_is_read_and_written_in_its_shortest_form(void **state)
{
	static const struct {
		const char *text, *written;
	} cases[] = {
		{ "127.0.0.1", "127.0.0.1" },
		{ "255.255.255.255", "255.255.255.255" },
		{ "::1", "::1" },
		{ "::", "::" },
		{ "2001:DB8:0:0:0:0:0:1", "2001:db8::1" },
		{ "::ffff:192.0.2.7", "192.0.2.7" },
		{ "::FFFF:c000:0207", "192.0.2.7" },
		{ "fe80::1%eth0", "fe80::1" },
		{ "ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255",
		  "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff" },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct address address;
		char text[ADDRESS_TEXT_SIZE];

		assert_true(address_read(slice_text(cases[i].text), &address));
		assert_true(slice_equal(address_write(&address, text),
					slice_text(cases[i].written)));
		assert_string_equal(text, cases[i].written);
	}
}

static void what_is_no_address_is_none(void **state)
{
	static const struct slice cases[] = {
		SLICE(""),
		SLICE("a"),
		SLICE("1"),
		SLICE("127.0.0.1 "),
		SLICE("127.0.0.1:80"),
		SLICE("127.0.0"),
		SLICE("127.0.0.256"),
		SLICE("0x7f.0.0.1"),
		SLICE("127.0.0.01"),
		SLICE("127.0.0.1%lo"),
		SLICE("[::1]"),
		SLICE("[::1]:80"),
		SLICE(":::"),
		SLICE("1:2:3:4:5:6:7"),
		SLICE("1:2:3:4:5:6:7:8:9"),
		SLICE("%eth0"),
		SLICE("localhost"),
		SLICE("unknown"),
		SLICE("_hidden"),
		SLICE("127.0.0.1\0"),
		SLICE("::1\0.example"),
		SLICE("0000000000000000000000000000000000000000000000000001"),
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct address address;

		if (address_read(cases[i], &address))
			fail_msg("'%.*s' was read", SLICE_PRINT(cases[i]));
	}
}

static void a_set_has_its_networks_and_nothing_beside_them(void **state)
{
	static const struct {
		const char *list, *inside, *outside;
	} cases[] = {
		{ "127.0.0.1", "127.0.0.1", "127.0.0.2" },
		{ "11.0.0.0/8", "11.255.255.255", "12.0.0.0" },
		{ "11.0.0.0/8", "11.0.0.0", "9.255.255.255" },
		{ "172.20.4.0/22", "172.20.7.255", "172.20.8.0" },
		{ "172.20.4.0/22", "172.20.4.0", "172.20.3.255" },
		{ "1.2.3.4/32", "1.2.3.4", "1.2.3.5" },
		{ "0.0.0.0/0", "203.0.113.9", "2001:db8::1" },
		{ "::1", "::1", "::2" },
		{ "::1/128", "::1", "::" },
		{ "fd00::/8", "fdff:1::9", "fe00::1" },
		{ "2001:db8::/33", "2001:db8:7fff::1", "2001:db8:8000::1" },
		{ "::ffff:11.0.0.0/104", "11.9.9.9", "12.9.9.9" },
		{ " ::1 ,, 11.0.0.0/8,\t127.0.0.1 ", "127.0.0.1", "127.0.0.2" },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		if (!has(cases[i].list, cases[i].inside))
			fail_msg("%s lacks %s", cases[i].list, cases[i].inside);
		if (has(cases[i].list, cases[i].outside))
			fail_msg("%s has %s", cases[i].list, cases[i].outside);
	}
}

static void an_ipv4_address_is_the_same_when_it_is_mapped(void **state)
{
	assert_true(has("11.0.0.0/8", "::ffff:11.1.2.3"));
	assert_true(has("::ffff:192.0.2.7", "192.0.2.7"));
	assert_true(has("::/0", "11.1.2.3"));
	assert_false(has("11.0.0.0/8", "::11.1.2.3"));
	assert_false(has("11.0.0.0/8", "64:ff9b::11.1.2.3"));
}

static void an_empty_list_has_nobody(void **state)
{
	static const char *const lists[] = { "", " ", ",", " , ,, " };

	for (size_t i = 0; i < sizeof(lists) / sizeof(lists[0]); i++) {
		struct fault why;
		struct address_set *set = address_set_create(slice_text(lists[i]), &why);

		assert_non_null(set);
		address_set_destroy(set);
		assert_false(has(lists[i], "127.0.0.1"));
		assert_false(has(lists[i], "::"));
	}
}

static void bad_input_is_named(void **state)
{
	static const struct {
		const char *list, *named;
	} cases[] = {
		{ "localhost", "'localhost'" },
		{ "127.0.0.1 ::1", "'127.0.0.1 ::1'" },
		{ "11.0.0.0/33", "'11.0.0.0/33'" },
		{ "::/129", "'::/129'" },
		{ "::1, 11.0.0.0/, 127.0.0.1", "'11.0.0.0/'" },
		{ "11.0.0.0/-1", "'11.0.0.0/-1'" },
		{ "11.0.0.0/8/8", "'11.0.0.0/8/8'" },
		{ "11.0.0.0/255.0.0.0", "'11.0.0.0/255.0.0.0'" },
		{ "/8", "'/8'" },
		{ "11.0.0.1/8", "'11.0.0.1/8'" },
		{ "11.128.0.0/8", "'11.128.0.0/8'" },
		{ "2001:db8::1/64", "'2001:db8::1/64'" },
		{ "fe80::1%eth0", "'fe80::1%eth0'" },
		{ "[::1]", "'[::1]'" },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct fault why = { 0 };

		if (address_set_create(slice_text(cases[i].list), &why))
			fail_msg("'%s' was taken", cases[i].list);
		assert_int_equal(why.kind, FAULT_bad_input);
		if (!strstr(why.detail, cases[i].named))
			fail_msg("'%s': %s", cases[i].list, why.detail);
	}
	address_set_destroy(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_address_is_read_and_written_in_its_shortest_form),
		cmocka_unit_test(what_is_no_address_is_none),
		cmocka_unit_test(a_set_has_its_networks_and_nothing_beside_them),
		cmocka_unit_test(an_ipv4_address_is_the_same_when_it_is_mapped),
		cmocka_unit_test(an_empty_list_has_nobody),
		cmocka_unit_test(bad_input_is_named),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
