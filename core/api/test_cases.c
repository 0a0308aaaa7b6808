/* SPDX-License-Identifier: MIT */
#include "api/test_cases.h"

#include "base/arena.h"
#include "base/check.h"
#include "script/loader.h"
#include "script/vm.h"

#include <lauxlib.h>
#include <stdlib.h>

#define CASES_MAX 1000

struct test_case {
	struct slice name;
	int fn; /* registry reference */
};

struct test_cases {
	struct vm *vm;
	struct arena arena;
	struct test_case *all;
	size_t count;
};

struct loading {
	struct test_cases *cases;
	const char *path;
};

static void read_case(lua_State *L, struct test_cases *cases, size_t i)
{
	struct slice name;

	lua_rawgeti(L, 1, (int)i + 1);
	if (!lua_istable(L, -1))
		luaL_error(L, "test %d is no table {name = text, fn = function}",
			   (int)i + 1);
	lua_getfield(L, -1, "name");
	if (lua_type(L, -1) != LUA_TSTRING)
		luaL_error(L, "test %d has no name", (int)i + 1);
	name.at = lua_tolstring(L, -1, &name.size);
	cases->all[i].name = arena_copy(&cases->arena, name);
	lua_pop(L, 1);
	lua_getfield(L, -1, "fn");
	if (!lua_isfunction(L, -1))
		luaL_error(L, "test '%s' has no function", cases->all[i].name.at);
	cases->all[i].fn = luaL_ref(L, LUA_REGISTRYINDEX);
	lua_pop(L, 1);
}

static int load_file(lua_State *L)
{
	struct loading *loading = vm_call_data(L);
	struct test_cases *cases = loading->cases;
	size_t count;

	loader_push_file(L, loading->path);
	lua_call(L, 0, 1);
	if (!lua_istable(L, 1))
		luaL_error(L, "%s must return its tests (test.suite())", loading->path);
	count = lua_objlen(L, 1);
	if (count > CASES_MAX)
		luaL_error(L, "%s: more than %d tests", loading->path, CASES_MAX);
	cases->all = arena_alloc(&cases->arena, (count + 1) * sizeof(*cases->all));
	for (size_t i = 0; i < count; i++)
		read_case(L, cases, i);
	cases->count = count;
	return 0;
}

struct test_cases *test_cases_load(struct vm *vm, const char *path, struct fault *why)
{
	struct test_cases *cases = mem_zeroed(1, sizeof(*cases));
	struct loading loading = { cases, path };

	cases->vm = vm;
	if (vm_run(vm, load_file, &loading, why) == 0)
		return cases;
	test_cases_destroy(cases);
	return NULL;
}

void test_cases_destroy(struct test_cases *cases)
{
	if (!cases)
		return;
	arena_finish(&cases->arena);
	free(cases);
}

size_t test_cases_count(const struct test_cases *cases)
{
	return cases->count;
}

struct slice test_cases_name(const struct test_cases *cases, size_t index)
{
	return cases->all[index].name;
}

static void push_case(lua_State *L, void *data)
{
	const struct test_case *test = data;

	lua_rawgeti(L, LUA_REGISTRYINDEX, test->fn);
}

void test_cases_start(struct test_cases *cases, size_t index, struct mono deadline,
		      attempt_ended_fn *ended, void *context)
{
	attempt_start(cases->vm, push_case, &cases->all[index], deadline, ended, context);
}
