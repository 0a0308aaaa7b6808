/* SPDX-License-Identifier: MIT */
/* Known answers: FIPS 180-4, RFC 4231, RFC 4648. */
#include "script_rig.h"

static const struct rig_module modules[] = { { "native.crypto", api_open_crypto },
					     { 0 } };

static struct rig rig;

#define CRYPTO "local crypto = require 'native.crypto' "

static int open_rig(void **state)
{
	rig_init(&rig);
	rig_open(&rig, 32 << 20, modules);
	return 0;
}

static int close_rig(void **state)
{
	rig_finish(&rig);
	return 0;
}

static void digests_are_the_known_ones(void **state)
{
	assert_run(&rig, CRYPTO "return crypto.hex(crypto.sha256('abc'))",
		   "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
	assert_run(&rig, CRYPTO "return crypto.hex(crypto.sha256(''))",
		   "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
	assert_run(&rig,
		   CRYPTO "return crypto.hex(crypto.hmac_sha256('Jefe', 'what do ya want "
			  "for nothing?'))",
		   "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
	assert_run(&rig,
		   CRYPTO "return crypto.hex(crypto.hmac_sha256(('\\170'):rep(131), "
			  "'Test Using Larger Than Block-Size Key - Hash Key First'))",
		   "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54");
}

static void base64url_has_no_padding(void **state)
{
	assert_run(&rig,
		   CRYPTO
		   "return crypto.base64url(''), crypto.base64url('f'), "
		   "crypto.base64url('fo'), "
		   "crypto.base64url('foobar'), crypto.base64url('\\251\\255\\254')",
		   " Zg Zm8 Zm9vYmFy -__-");
	assert_run(&rig,
		   CRYPTO "for n = 0, 60 do local s = ('\\0\\255k'):rep(n):sub(1, n) "
			  "if crypto.unbase64url(crypto.base64url(s)) ~= s then return n "
			  "end end return 'same'",
		   "same");
}

static void what_is_not_base64url_is_nil(void **state)
{
	assert_run(&rig,
		   CRYPTO "return crypto.unbase64url('Zg=='), crypto.unbase64url('Z'), "
			  "crypto.unbase64url('+/+/'), crypto.unbase64url('Zm 8'), "
			  "crypto.unbase64url('Zh')",
		   "nil nil nil nil nil");
	assert_run(&rig, CRYPTO "return #crypto.unbase64url('')", "0");
}

static void equal_compares_whole_texts(void **state)
{
	assert_run(&rig,
		   CRYPTO "return crypto.equal('a', 'a'), crypto.equal('a', 'b'), "
			  "crypto.equal('a', 'aa'), "
			  "crypto.equal('', ''), crypto.equal('a\\0b', 'a\\0c')",
		   "true false false true false");
	assert_contains(rig_run(&rig, CRYPTO "crypto.equal('a', nil)"),
			"string expected");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(digests_are_the_known_ones),
		cmocka_unit_test(base64url_has_no_padding),
		cmocka_unit_test(what_is_not_base64url_is_nil),
		cmocka_unit_test(equal_compares_whole_texts),
	};

	return cmocka_run_group_tests(tests, open_rig, close_rig);
}
