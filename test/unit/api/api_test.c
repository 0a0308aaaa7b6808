/* SPDX-License-Identifier: MIT */
/* Everything that a script can reach is written down in reachable.txt beside this
 * file: what its environment shows, the members of native modules and of those of
 * lib/, and the objects they make. A line too many or too few there fails. So does
 * anything reachable that could be written, or whose metatable could be had. */
#include "script_rig.h"

#include "script/view.h"

#include <dirent.h>
#include <stdio.h>

#define MEMORY_MAX (32u << 20)
#define LIST "test/unit/api/reachable.txt"
#define LINES_MAX 2000
#define NAMES_MAX 200
#define NAME_SIZE 64

/* Objects that scripts are given, each by its name. */
static const char samples[] =
	"local app, fault, json = require 'app', require 'fault', require 'json'\n"
	"local metrics, shape = require 'metrics', require 'shape'\n"
	"local service = app.service 'sample'\n"
	"return {\n"
	"  array = json.array {}, coroutine = coroutine.create(tostring),\n"
	"  counter = metrics.counter('sample_total', 'Sample.'),\n"
	"  decoded = json.decode '[[]]',\n"
	"  edge = require('gate').on(app.service 'edge'),\n"
	"  fault = fault.new('missing', 'sample'),\n"
	"  gauge = metrics.gauge('sample_things', 'Sample.'),\n"
	"  histogram = metrics.histogram('sample_seconds', 'Sample.'),\n"
	"  job = service:every('sample', 1, tostring), service = service,\n"
	"  shape = shape.object { id = shape.uuid }, text = 'sample',\n"
	"}\n";

struct walk {
	char *lines[LINES_MAX];
	size_t count;
	struct buf broken;
};

struct names {
	char at[NAMES_MAX][NAME_SIZE];
	size_t count;
	size_t keys; /* others than texts, too */
};

static struct rig rig;

/* The path of a file of the checkout. */
static void in_checkout(const char *file, char path[512])
{
	static const char self[] = "test/unit/api/api_test.c";

	snprintf(path, 512, "%.*s%s", (int)(sizeof(__FILE__) - sizeof(self)), __FILE__,
		 file);
}

/* --- lines ------------------------------------------------------------------------ */

static void add_line(struct walk *walk, const char *path, const char *what)
{
	char line[256];

	snprintf(line, sizeof(line), "%s %s", path, what);
	assert_true(walk->count < LINES_MAX);
	walk->lines[walk->count++] = mem_copy(line, strlen(line));
}

static void complain(struct walk *walk, const char *path, const char *what)
{
	buf_printf(&walk->broken, "%s %s\n", path, what);
}

static int by_text(const void *a, const void *b)
{
	const char *const *left = a, *const *right = b;

	return strcmp(*left, *right);
}

static int by_name(const void *a, const void *b)
{
	return strcmp(a, b);
}

static void walk_finish(struct walk *walk)
{
	for (size_t i = 0; i < walk->count; i++)
		free(walk->lines[i]);
	buf_finish(&walk->broken);
}

/* --- what a script could do with it ----------------------------------------------- */

static int try_to_write(lua_State *L)
{
	lua_pushliteral(L, "a name that is not there");
	lua_pushboolean(L, 1);
	lua_settable(L, 1);
	return 0;
}

static bool can_be_written(lua_State *L, int index)
{
	bool written;

	lua_pushcfunction(L, try_to_write);
	lua_pushvalue(L, index);
	written = lua_pcall(L, 1, 0, 0) == 0;
	if (!written)
		lua_pop(L, 1);
	return written;
}

/* getmetatable, as scripts have it, gives a table. */
static bool has_open_metatable(lua_State *L, int index)
{
	bool open;

	if (!lua_getmetatable(L, index))
		return false;
	lua_pushliteral(L, "__metatable");
	lua_rawget(L, -2);
	open = lua_isnil(L, -1) || lua_istable(L, -1);
	lua_pop(L, 2);
	return open;
}

/* --- walking ---------------------------------------------------------------------- */

enum { SEEN = 1 }; /* stack index of {[table or userdata] = its first path} */

static void walk_value(lua_State *L, struct walk *walk, const char *path, bool own);

/* The keys of the table, sorted: what is reached twice is told of the first path. */
static void read_names(lua_State *L, int table, struct names *names)
{
	names->count = names->keys = 0;
	lua_pushnil(L);
	while (lua_next(L, table)) {
		lua_pop(L, 1);
		names->keys++;
		if (lua_type(L, -1) != LUA_TSTRING)
			continue;
		assert_true(names->count < NAMES_MAX);
		snprintf(names->at[names->count++], NAME_SIZE, "%s", lua_tostring(L, -1));
	}
	qsort(names->at, names->count, NAME_SIZE, by_name);
}

/* Those of the table on top of the stack, which is left there. */
static void walk_members(lua_State *L, struct walk *walk, const char *prefix, bool own)
{
	struct names *names = mem_zeroed(1, sizeof(*names));
	int table = lua_gettop(L), count = (int)lua_objlen(L, table);
	char path[256];

	read_names(L, table, names);
	for (size_t i = 0; i < names->count; i++) {
		snprintf(path, sizeof(path), "%s%s", prefix, names->at[i]);
		lua_pushstring(L, names->at[i]);
		lua_rawget(L, table);
		walk_value(L, walk, path, own);
		lua_pop(L, 1);
	}
	for (int i = 1; i <= count; i++) {
		snprintf(path, sizeof(path), "%s%d", prefix, i);
		lua_rawgeti(L, table, i);
		walk_value(L, walk, path, own);
		lua_pop(L, 1);
	}
	if (names->keys != names->count + (size_t)count)
		complain(walk, prefix, "has keys that are neither names nor positions");
	free(names);
}

/* Methods: what __index shows besides an object's own members. */
static void walk_methods(lua_State *L, struct walk *walk, int object, const char *path)
{
	char prefix[256];

	if (!lua_getmetatable(L, object))
		return;
	snprintf(prefix, sizeof(prefix), "%s:", path);
	lua_pushliteral(L, "__index");
	lua_rawget(L, -2);
	if (lua_istable(L, -1))
		walk_members(L, walk, prefix, false);
	lua_pop(L, 2);
}

/* Pushes the first path of the object on top, NULL when this is the first time. */
static const char *seen_before(lua_State *L, const char *path)
{
	const char *first;

	lua_pushvalue(L, -1);
	lua_rawget(L, SEEN);
	first = lua_tostring(L, -1);
	lua_pop(L, 1);
	if (first)
		return first;
	lua_pushvalue(L, -1);
	lua_pushstring(L, path);
	lua_rawset(L, SEEN);
	return NULL;
}

static void walk_object(lua_State *L, struct walk *walk, const char *path, bool own)
{
	int object = lua_gettop(L);
	bool view = view_push_table(L, object);
	char prefix[256];

	own = own && !view;
	snprintf(prefix, sizeof(prefix), "%s.", path);
	if (view || lua_istable(L, object))
		walk_members(L, walk, prefix, own);
	lua_settop(L, object);
	if (!view)
		walk_methods(L, walk, object, path);
	if (!own && can_be_written(L, object))
		complain(walk, path, "can be written");
}

/* The value on top of the stack. own: it is the script's to change. */
static void walk_value(lua_State *L, struct walk *walk, const char *path, bool own)
{
	int type = lua_type(L, -1);
	const char *first, *what = lua_typename(L, type);
	char again[256];

	luaL_checkstack(L, 12, NULL);
	if (has_open_metatable(L, lua_gettop(L)))
		complain(walk, path, "has a metatable that can be had");
	if (type == LUA_TTHREAD && !own)
		complain(walk, path, "is a coroutine");
	if (type != LUA_TTABLE && type != LUA_TUSERDATA) {
		add_line(walk, path, what);
		return;
	}
	if (view_push_table(L, lua_gettop(L))) {
		lua_pop(L, 1);
		what = "view";
	}
	first = seen_before(L, path);
	if (first) {
		snprintf(again, sizeof(again), "is %s", first);
		add_line(walk, path, again);
		return;
	}
	add_line(walk, path, what);
	walk_object(L, walk, path, own);
}

/* --- roots ------------------------------------------------------------------------ */

/* What the environment shows: it is empty itself, and so is what it shows that of. */
static void walk_environment(lua_State *L, struct walk *walk)
{
	int top = lua_gettop(L);

	sandbox_push_environment(L);
	lua_pushnil(L);
	assert_int_equal(lua_next(L, top + 1), 0);
	if (can_be_written(L, top + 1))
		complain(walk, "the environment", "can be written");
	assert_true(lua_getmetatable(L, top + 1));
	lua_getfield(L, -1, "__index");
	assert_true(lua_istable(L, -1));
	walk_members(L, walk, "", false);
	lua_settop(L, top);
}

/* Requires it as a script would; the error counts as what it is. */
static void walk_module(lua_State *L, struct walk *walk, const char *name,
			const char *prefix)
{
	char source[128], path[128];

	snprintf(source, sizeof(source), "return require '%s'", name);
	snprintf(path, sizeof(path), "%s%s", prefix, name);
	rig_push_source(L, source);
	if (lua_pcall(L, 0, 1, 0))
		add_line(walk, path, "cannot be had");
	else
		walk_value(L, walk, path, false);
	lua_pop(L, 1);
}

/* Pushes a table with the names of the modules in lib/ as keys. */
static void push_lib_names(lua_State *L)
{
	char folder[512], name[NAME_SIZE];
	struct dirent *entry;
	DIR *lib;

	lua_newtable(L);
	in_checkout("lib", folder);
	lib = opendir(folder);
	assert_non_null(lib);
	while ((entry = readdir(lib))) {
		if (!strstr(entry->d_name, ".lua") ||
		    sscanf(entry->d_name, "%60[a-z_]", name) != 1)
			continue;
		lua_pushboolean(L, 1);
		lua_setfield(L, -2, name);
	}
	closedir(lib);
}

static int walk_all(lua_State *L)
{
	struct walk *walk = vm_call_data(L);
	struct names *names = mem_zeroed(1, sizeof(*names));

	lua_settop(L, 0);
	lua_newtable(L);
	walk_environment(L, walk);
	lua_getfield(L, LUA_REGISTRYINDEX, "modules");
	walk_members(L, walk, "", false);
	push_lib_names(L);
	read_names(L, lua_gettop(L), names);
	for (size_t i = 0; i < names->count; i++)
		walk_module(L, walk, names->at[i], "lib ");
	free(names);
	rig_push_source(L, (void *)(size_t)samples);
	lua_call(L, 0, 1);
	walk_members(L, walk, "made ", true);
	return 0;
}

/* --- claims ----------------------------------------------------------------------- */

static char *read_list(void)
{
	char path[512], *text = mem_zeroed(1, 1 << 18);
	FILE *in;

	in_checkout(LIST, path);
	in = fopen(path, "r");
	assert_non_null(in);
	assert_true(fread(text, 1, (1 << 18) - 1, in) > 0);
	fclose(in);
	return text;
}

/* Both are sorted: what stands in one only is printed. Gives how many lines those are. */
static size_t compare(const struct walk *walk, struct slice list)
{
	size_t at = 0, differences = 0;
	struct slice line = { 0 };

	slice_cut(&list, '\n', &line);
	while (at < walk->count || line.size) {
		struct slice found = slice_text(at < walk->count ? walk->lines[at] : "");
		size_t common = found.size < line.size ? found.size : line.size;
		int order = memcmp(found.at, line.at, common);

		if (order == 0)
			order = (found.size > line.size) - (found.size < line.size);
		if (found.size && (order < 0 || !line.size)) {
			print_error("+ %.*s\n", SLICE_PRINT(found));
		} else if (order != 0) {
			print_error("- %.*s\n", SLICE_PRINT(line));
		}
		differences += order != 0;
		if (found.size && (order <= 0 || !line.size))
			at++;
		if (line.size && (order >= 0 || !found.size) &&
		    !slice_cut(&list, '\n', &line))
			line = (struct slice){ 0 };
	}
	return differences;
}

static void a_script_reaches_what_is_on_the_list_and_nothing_else(void **state)
{
	struct walk walk = { .count = 0 };
	struct fault why;
	char *list = read_list();
	size_t differences;

	if (vm_call(rig.vm, walk_all, &walk, &why) != 0)
		fail_msg("%s", why.detail);
	qsort(walk.lines, walk.count, sizeof(*walk.lines), by_text);
	differences = compare(&walk, slice_text(list));
	free(list);
	print_error("%s", buf_text(&walk.broken));
	assert_int_equal(walk.broken.size, 0);
	walk_finish(&walk);
	if (differences)
		fail_msg("%s differs (+ is new, - is gone) in %d lines", LIST,
			 (int)differences);
}

/* --- life ------------------------------------------------------------------------- */

static void push_no_setting(lua_State *L, void *context, struct slice name)
{
	lua_pushnil(L);
}

static int open_modules(lua_State *L)
{
	api_open(L, vm_call_data(L));
	return 0;
}

static int open_rig(void **state)
{
	struct vm_config config = { .memory_max = MEMORY_MAX };
	char lib[512];
	struct fault why;

	rig_init(&rig);
	in_checkout("lib", lib);
	config.lib_dir = lib;
	rig.api.push_setting = push_no_setting;
	rig.vm = rig.api.vm = vm_create(rig.loop, &config);
	if (vm_call(rig.vm, open_modules, &rig.api, &why) != 0)
		fail_msg("%s", why.detail);
	return 0;
}

static int close_rig(void **state)
{
	rig_finish(&rig);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_script_reaches_what_is_on_the_list_and_nothing_else),
	};

	return cmocka_run_group_tests(tests, open_rig, close_rig);
}
