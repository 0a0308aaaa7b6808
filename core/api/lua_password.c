/* SPDX-License-Identifier: MIT */
/* native.password -- argon2id on a helper thread, by libsodium.
 *
 * Two passes over 19 MiB, as OWASP advises for one lane: some 20 ms of a core. The
 * password is copied for the helper and wiped there and then.
 */
#include "api/api.h"

#include "base/check.h"
#include "loop/worker.h"
#include "script/task.h"
#include "script/vm.h"

#include <lauxlib.h>
#include <sodium.h>
#include <stdlib.h>

#define PASSES 2
#define MEMORY (19u << 20)
#define PASSWORD_SIZE_MAX 1024

struct hashing {
	struct task_wait wait;
	bool verify;
	bool good; /* verify: it is the password; else: encoded is set */
	char encoded[crypto_pwhash_STRBYTES];
	size_t size;
	char password[];
};

static void work(void *context) /* on a helper thread */
{
	struct hashing *hashing = context;

	if (hashing->verify)
		hashing->good =
			crypto_pwhash_str_verify(hashing->encoded, hashing->password,
						 hashing->size) == 0;
	else
		hashing->good = crypto_pwhash_str_alg(hashing->encoded, hashing->password,
						      hashing->size, PASSES, MEMORY,
						      crypto_pwhash_ALG_ARGON2ID13) == 0;
	sodium_memzero(hashing->password, hashing->size);
}

static void push_result(lua_State *L, void *data)
{
	const struct hashing *hashing = data;

	if (hashing->verify)
		lua_pushboolean(L, hashing->good);
	else
		lua_pushstring(L, hashing->encoded);
}

static void on_done(void *context)
{
	struct hashing *hashing = context;
	struct fault why;

	if (hashing->verify || hashing->good) {
		task_wake(hashing->wait, push_result, hashing);
	} else {
		fault_set_status(&why, FAULT_limit, 503, "no memory to hash a password");
		task_wake_fault(hashing->wait, &why);
	}
	free(hashing);
}

/* Takes its arguments as they were read; raises, holding nothing, when the helpers are
 * busy. */
static int start(lua_State *L, struct slice password, struct slice encoded)
{
	const struct api *api = api_of(L);
	struct task_wait wait = task_wait(L);
	struct hashing *hashing = mem_zeroed(1, sizeof(*hashing) + password.size);
	struct fault why;

	hashing->wait = wait;
	hashing->verify = encoded.size > 0;
	if (encoded.size)
		memcpy(hashing->encoded, encoded.at, encoded.size);
	hashing->size = password.size;
	if (password.size)
		memcpy(hashing->password, password.at, password.size);
	if (helper_submit(api->helper, api->loop, work, on_done, hashing, &why))
		return task_suspend(L);
	sodium_memzero(hashing->password, hashing->size);
	free(hashing);
	vm_push_fault(L, &why);
	return lua_error(L);
}

static struct slice check_password(lua_State *L, int index)
{
	struct slice password = api_check_slice(L, index);

	luaL_argcheck(L, password.size <= PASSWORD_SIZE_MAX, index,
		      "longer than 1024 bytes");
	if (!api_of(L)->helper)
		api_absent(L, "helper threads", "helpers");
	return password;
}

/* password.hash(text) -> encoded */
static int l_password_hash(lua_State *L)
{
	struct slice password = check_password(L, 1);

	return start(L, password, SLICE(""));
}

/* password.verify(encoded, text) -> boolean */
static int l_password_verify(lua_State *L)
{
	struct slice encoded = api_check_slice(L, 1);
	struct slice password = check_password(L, 2);

	luaL_argcheck(L, encoded.size > 0 && encoded.size < crypto_pwhash_STRBYTES, 1,
		      "not an encoded password");
	return start(L, password, encoded);
}

void api_open_password(lua_State *L, const struct api *api)
{
	static const luaL_Reg waits[] = { { "hash", l_password_hash },
					  { "verify", l_password_verify },
					  { NULL, NULL } };

	check(sodium_init() >= 0);
	api_module(L, api, NULL, waits);
}
