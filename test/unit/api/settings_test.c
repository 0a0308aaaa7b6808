/* SPDX-License-Identifier: MIT */
#include "script_rig.h"

#include "api/settings.h"

#include <lua.h>
#include <stdio.h>
#include <unistd.h>

static const struct rig_module modules[] = { { "native.conf", api_open_conf },
					     { "native.json", api_open_json },
					     { 0 } };

static struct rig rig;
static struct settings *settings;

static int open_rig(void **state)
{
	settings = settings_create();
	rig_init(&rig);
	rig.api.push_setting = settings_push;
	rig.api.push_setting_context = settings;
	rig_open(&rig, 8 << 20, modules);
	return 0;
}

static int close_rig(void **state)
{
	rig_finish(&rig);
	settings_destroy(settings);
	return 0;
}

static bool read_source(const char *source, const char *service, struct fault *why)
{
	char path[] = "/tmp/settings_XXXXXX";
	int fd = mkstemp(path);
	bool read;

	check(fd >= 0 && write(fd, source, strlen(source)) == (ssize_t)strlen(source));
	close(fd);
	read = settings_read_file(settings, path, "/nowhere/lib", slice_text(service),
				  why);
	unlink(path);
	return read;
}

static void assert_setting(const char *name, const char *value)
{
	struct slice found = settings_get(settings, slice_text(name));

	if (!value) {
		assert_null(found.at);
		return;
	}
	assert_int_equal(found.size, strlen(value));
	assert_memory_equal(found.at, value, found.size);
}

static void later_values_replace_earlier_ones(void **state)
{
	struct slice name;

	settings_set_text(settings, SLICE("a"), SLICE("one"));
	settings_set_text(settings, SLICE("b"), SLICE(""));
	settings_set_json(settings, SLICE("a"), SLICE("{\"x\":1}"));
	assert_setting("a", "{\"x\":1}");
	assert_setting("b", "");
	assert_setting("c", NULL);
	settings_set_text(settings, SLICE("a"), SLICE("two"));
	assert_setting("a", "two");
	assert_true(settings_at(settings, 1, &name));
	assert_true(slice_equal(name, SLICE("b")));
	assert_false(settings_at(settings, 2, &name));
}

static void scripts_see_values_as_they_are(void **state)
{
	settings_set_text(settings, SLICE("text"), SLICE("say \"x\"\n"));
	settings_set_json(settings, SLICE("number"), SLICE("8001"));
	settings_set_json(settings, SLICE("table"), SLICE("{\"users\":\"http://u\"}"));
	assert_run(
		&rig,
		"local conf = require 'native.conf' "
		"return conf.get('text'), conf.get('number'), conf.get('table').users, "
		"conf.get('none')",
		"say \"x\"\n 8001 http://u nil");
}

static void a_services_table_lies_over_the_defaults(void **state)
{
	static const char source[] =
		"return {defaults = {port = 1, mode = 'production', options = {a = 1}},\n"
		"  services = {orders = {port = 2, options = {b = {1, 2}}}}}";
	struct fault why;

	assert_true(read_source(source, "users", &why));
	assert_setting("port", "1");
	assert_true(read_source(source, "orders", &why));
	assert_setting("port", "2");
	assert_setting("mode", "production");
	assert_setting("options", "{\"b\":[1,2]}");
}

static void a_file_that_is_no_configuration_is_refused(void **state)
{
	static const struct {
		const char *source;
		const char *part;
	} cases[] = {
		{ "return 1", "must return a table" },
		{ "return {}", "'services' must be a table" },
		{ "return {services = {}, defaults = 1}", "'defaults' must be a table" },
		{ "return {services = {orders = 'x'}}", "'services' must be a table" },
		{ "return {services = {}, defaults = {1}}", "has a key that is no name" },
		{ "return {services = {}, defaults = {a = {}, f = print}}",
		  "unknown global" },
		{ "return {services = {}, defaults = {a = {1, 2}, f = pcall}}",
		  "'defaults.f': " },
		{ "return {", ":1: unexpected symbol near" },
		{ "require 'native.task'", "not found" },
	};
	struct fault why;

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		assert_false(read_source(cases[i].source, "orders", &why));
		assert_contains(why.detail, cases[i].part);
	}
	assert_false(settings_read_file(settings, "/nowhere/conf.lua", "/nowhere/lib",
					SLICE("x"), &why));
	assert_contains(why.detail, "No such file");
}

int main(void)
{
#define CLAIM(name) cmocka_unit_test_setup_teardown(name, open_rig, close_rig)
	const struct CMUnitTest claims[] = {
		CLAIM(later_values_replace_earlier_ones),
		CLAIM(scripts_see_values_as_they_are),
		CLAIM(a_services_table_lies_over_the_defaults),
		CLAIM(a_file_that_is_no_configuration_is_refused),
	};

	return cmocka_run_group_tests(claims, NULL, NULL);
}
