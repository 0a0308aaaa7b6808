/* SPDX-License-Identifier: MIT */
/* native.crypto -- digests and encodings, by libsodium. Passwords are in lua_password.c.
 */
#include "api/api.h"

#include "base/check.h"
#include "base/hex.h"

#include <lauxlib.h>
#include <sodium.h>

#define ENCODING sodium_base64_VARIANT_URLSAFE_NO_PADDING
#define ENCODED_SIZE_MAX (8u << 20)

/* Memory that the collector frees, whatever happens. */
static char *room(lua_State *L, struct slice data, size_t size)
{
	luaL_argcheck(L, data.size <= ENCODED_SIZE_MAX, 1, "too long");
	return lua_newuserdata(L, size);
}

/* crypto.base64url(data) -> text without padding */
static int l_crypto_base64url(lua_State *L)
{
	struct slice data = api_check_slice(L, 1);
	size_t size = sodium_base64_encoded_len(data.size, ENCODING);
	char *text = room(L, data, size);

	sodium_bin2base64(text, size, (const unsigned char *)data.at, data.size,
			  ENCODING);
	lua_pushlstring(L, text, size - 1);
	return 1;
}

/* crypto.equal(a, b) -> boolean, in a time that does not tell where they differ */
static int l_crypto_equal(lua_State *L)
{
	struct slice a = api_check_slice(L, 1), b = api_check_slice(L, 2);

	lua_pushboolean(L, a.size == b.size && sodium_memcmp(a.at, b.at, a.size) == 0);
	return 1;
}

/* crypto.hex(data) -> digits */
static int l_crypto_hex(lua_State *L)
{
	struct slice data = api_check_slice(L, 1);
	char *text = room(L, data, 2 * data.size + 1);

	hex_encode(data.at, data.size, text);
	lua_pushlstring(L, text, 2 * data.size);
	return 1;
}

/* crypto.hmac_sha256(key, data) -> 32 bytes */
static int l_crypto_hmac_sha256(lua_State *L)
{
	struct slice key = api_check_slice(L, 1), data = api_check_slice(L, 2);
	unsigned char digest[crypto_auth_hmacsha256_BYTES];
	crypto_auth_hmacsha256_state state;

	crypto_auth_hmacsha256_init(&state, (const unsigned char *)key.at, key.size);
	crypto_auth_hmacsha256_update(&state, (const unsigned char *)data.at, data.size);
	crypto_auth_hmacsha256_final(&state, digest);
	sodium_memzero(&state, sizeof(state));
	lua_pushlstring(L, (const char *)digest, sizeof(digest));
	return 1;
}

/* crypto.sha256(data) -> 32 bytes */
static int l_crypto_sha256(lua_State *L)
{
	struct slice data = api_check_slice(L, 1);
	unsigned char digest[crypto_hash_sha256_BYTES];

	crypto_hash_sha256(digest, (const unsigned char *)data.at, data.size);
	lua_pushlstring(L, (const char *)digest, sizeof(digest));
	return 1;
}

/* crypto.unbase64url(text) -> data | nil when it is not base64url without padding */
static int l_crypto_unbase64url(lua_State *L)
{
	struct slice text = api_check_slice(L, 1);
	unsigned char *data = (unsigned char *)room(L, text, text.size + 1);
	size_t size;

	if (sodium_base642bin(data, text.size + 1, text.at, text.size, NULL, &size, NULL,
			      ENCODING) != 0) {
		lua_pushnil(L);
		return 1;
	}
	lua_pushlstring(L, (const char *)data, size);
	return 1;
}

void api_open_crypto(lua_State *L, const struct api *api)
{
	static const luaL_Reg calls[] = { { "base64url", l_crypto_base64url },
					  { "equal", l_crypto_equal },
					  { "hex", l_crypto_hex },
					  { "hmac_sha256", l_crypto_hmac_sha256 },
					  { "sha256", l_crypto_sha256 },
					  { "unbase64url", l_crypto_unbase64url },
					  { NULL, NULL } };

	check(sodium_init() >= 0);
	api_module(L, api, calls, NULL);
}
