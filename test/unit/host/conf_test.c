/* SPDX-License-Identifier: MIT */
#include "host/conf.h"

#include "api/settings.h"
#include "base/buf.h"
#include "base/check.h"

#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

/* A root with a lab `shop`, and a place without one. */
static char root[PATH_MAX], away[PATH_MAX], home[PATH_MAX];
static struct conf conf;
static struct fault why;

static void make_file(const char *folder, const char *name, const char *text)
{
	struct buf path = { 0 };
	FILE *file;

	buf_printf(&path, "%s/%s", folder, name);
	for (char *at = strchr(path.at + 1, '/'); at; at = strchr(at + 1, '/')) {
		*at = 0;
		mkdir(path.at, 0755);
		*at = '/';
	}
	file = fopen(buf_text(&path), "w");
	assert_non_null(file);
	fputs(text, file);
	fclose(file);
	buf_finish(&path);
}

static int setup(void **state)
{
	char template[] = "/tmp/conf_test_XXXXXX";

	clearenv();
	assert_non_null(getcwd(home, sizeof(home)));
	assert_non_null(mkdtemp(template));
	assert_true(snprintf(root, sizeof(root), "%s/root", template) > 0);
	assert_true(snprintf(away, sizeof(away), "%s/away", template) > 0);
	make_file(root, "lib/app.lua", "return {}");
	make_file(root, "scripts/shop/orders/service.lua", "");
	make_file(root, "scripts/hello/service.lua", "");
	make_file(root, "scripts/hello/other.lua", "");
	make_file(root, "conf/shop.lua",
		  "return {defaults = {mode = 'production', workers = 3},\n"
		  "services = {orders = {port = 8001, options = {a = 1},\n"
		  "  upstreams = {users = 'http://file', stock = 'http://stock'}}}}");
	make_file(away, "x.lua", "");
	assert_int_equal(chdir(root), 0);
	return 0;
}

static int teardown(void **state)
{
	struct buf command = { 0 };

	conf_finish(&conf);
	assert_int_equal(chdir(home), 0);
	buf_printf(&command, "rm -rf %.*s", (int)(strlen(root) - strlen("/root")), root);
	assert_int_equal(system(buf_text(&command)), 0);
	buf_finish(&command);
	return 0;
}

/* The arguments end with NULL. */
static bool load(const char *spec, ...)
{
	char *args[8];
	size_t count = 0;
	va_list list;

	va_start(list, spec);
	while (count < 8 && (args[count] = va_arg(list, char *)))
		count++;
	va_end(list);
	conf_finish(&conf);
	return conf_load(&conf, spec, args, count, &why);
}

static void assert_refused(bool loaded, const char *part)
{
	if (loaded)
		fail_msg("taken; expected: %s", part);
	if (!strstr(why.detail, part))
		fail_msg("'%s' is not in: %s", part, why.detail);
}

static void assert_shown(const char *name, const char *value)
{
	struct slice shown = settings_get(conf.shown, slice_text(name));

	if (shown.size != strlen(value) || memcmp(shown.at, value, shown.size) != 0)
		fail_msg("%s is %.*s", name, SLICE_PRINT(shown));
}

static void later_places_win(void **state)
{
	assert_true(load("shop/orders", NULL));
	assert_int_equal(conf.port, 8001);
	assert_int_equal(conf.workers, 3);
	assert_int_equal(conf.tasks_max, 1024);
	setenv("ORRERY_PORT", "9001", 1);
	setenv("ORRERY_WORKERS", "", 1); /* as if it were not there */
	assert_true(load("shop/orders", NULL));
	assert_int_equal(conf.port, 9001);
	assert_int_equal(conf.workers, 3);
	assert_true(load("shop/orders", "--port", "9002", "--mode=development", NULL));
	assert_int_equal(conf.port, 9002);
	assert_string_equal(conf.mode, "development");
	assert_shown("port", "9002");
	assert_shown("mode", "development");
}

static void a_service_is_named_by_its_folder_or_its_file(void **state)
{
	char path[PATH_MAX + 16];

	assert_true(load("shop/orders", NULL));
	assert_string_equal(conf.service, "orders");
	assert_string_equal(conf.lab, "shop");
	assert_true(load("hello", NULL));
	assert_string_equal(conf.service, "hello");
	assert_string_equal(conf.lab, "");
	assert_true(load("scripts/hello/other.lua", NULL));
	assert_string_equal(conf.service, "other");
	snprintf(path, sizeof(path), "%s/x.lua", away);
	assert_true(load(path, NULL));
	assert_string_equal(conf.service, "x");
	assert_string_equal(conf.service_dir, away);
	assert_string_equal(conf.root, root);
	assert_true(load(NULL, NULL));
	assert_string_equal(conf.service, "orrery");
}

static void odd_places_are_no_harm(void **state)
{
	char path[PATH_MAX + 16], bare[PATH_MAX + 16];

	/* a link to a file without .lua, with a short name */
	snprintf(bare, sizeof(bare), "%s/y", away);
	snprintf(path, sizeof(path), "%s/link.lua", away);
	make_file(away, "y", "");
	assert_int_equal(symlink(bare, path), 0);
	assert_true(load(path, NULL));
	assert_string_equal(conf.service, "y");
	if (geteuid() == 0 && access("/service.lua", F_OK) != 0) {
		make_file("/", "service.lua", "");
		assert_true(load("/service.lua", NULL));
		assert_string_equal(conf.service, "service");
		assert_string_equal(conf.lab, "");
		unlink("/service.lua");
	}
	assert_refused(load("shop/nobody", NULL), "no service at ");
	assert_refused(load("/nowhere/x.lua", NULL), "no service at /nowhere/x.lua");
}

static void the_root_is_where_one_says_or_above(void **state)
{
	assert_int_equal(chdir("scripts/shop"), 0);
	assert_true(load("shop/orders", NULL));
	assert_string_equal(conf.root, root);
	assert_int_equal(chdir(away), 0);
	assert_refused(load("shop/orders", NULL), "no folder with lib/app.lua");
	assert_true(load("shop/orders", "--port", "1", "--root", root, NULL));
	assert_string_equal(conf.root, root);
	setenv("ORRERY_ROOT", away, 1);
	assert_refused(load("shop/orders", NULL), "ORRERY_ROOT: ");
	assert_refused(load("shop/orders", "--root=/nowhere", NULL),
		       "--root: /nowhere has no lib/app.lua");
	setenv("ORRERY_ROOT", root, 1);
	assert_true(load("shop/orders", NULL));
}

static void what_is_unknown_or_out_of_range_is_refused(void **state)
{
	assert_refused(load("hello", "--prot", "1", NULL),
		       "command line: unknown setting 'prot'");
	assert_refused(load("hello", "extra", NULL), "unexpected argument 'extra'");
	assert_refused(load("hello", "--port", NULL), "--port needs a value");
	assert_refused(load("hello", "--port", "65536", NULL),
		       "port must be a whole number from 0 to 65535, not '65536'");
	assert_refused(load("hello", "--port=", NULL), "must be a whole number");
	assert_refused(load("hello", "--port", "-1", NULL), "must be a whole number");
	assert_refused(load("hello", "--workers", "99999999999999999999", NULL),
		       "must be a whole number");
	assert_refused(load("hello", "--mode", "prod", NULL), "mode cannot be 'prod'");
	assert_refused(load("hello", "--log_level=loud", NULL),
		       "log_level cannot be 'loud'");
	assert_refused(load("hello", "--log_dialect", "logfmt", NULL),
		       "log_dialect cannot be 'logfmt'");
	assert_refused(load("hello", "--dialect", "zap", NULL),
		       "dialect cannot be 'zap'");
	assert_refused(load("hello", "--trusted_proxies", "::1, lan", NULL),
		       "trusted_proxies: 'lan' is neither an IP address nor a network");
	assert_refused(load("hello", "--port=81", "--admin_port=81", NULL),
		       "port and admin_port are both 81");
	assert_refused(load("hello", "--port=81", "--admin_port=81",
			    "--admin_host=127.0.0.1", NULL),
		       "port and admin_port are both 81");
	assert_true(load("hello", "--port=81", "--admin_port=81",
			 "--admin_host=127.0.0.2", NULL));
	assert_true(load("hello", "--trusted_proxies", "::1, 192.0.2.0/24", NULL));
	setenv("ORRERY_GRACE_MS", "soon", 1);
	assert_refused(load("hello", NULL), "ORRERY_GRACE_MS: grace_ms must be");
}

static void secrets_come_from_the_environment_only(void **state)
{
	setenv("ORRERY_POSTGRES_URL", "postgres://secret", 1);
	setenv("ORRERY_JWT_SECRET", "key", 1);
	assert_true(load("shop/orders", NULL));
	assert_string_equal(conf.postgres_url, "postgres://secret");
	assert_shown("jwt_secret", "key");
	assert_null(settings_get(conf.shown, SLICE("postgres_url")).at);
	assert_refused(load("shop/orders", "--jwt_secret", "x", NULL),
		       "a secret comes from the environment");
	make_file(root, "conf/shop.lua",
		  "return {services = {orders = {redis_url = 'redis://x'}}}");
	assert_refused(load("shop/orders", NULL), "unknown setting 'redis_url'");
}

static void the_labs_file_is_checked(void **state)
{
	make_file(root, "conf/shop.lua", "return {services = {orders = {prot = 1}}}");
	assert_refused(load("shop/orders", NULL), "unknown setting 'prot'");
	make_file(root, "conf/shop.lua", "return {services = {orders = {port = 'x'}}}");
	assert_refused(load("shop/orders", NULL), "port must be a whole number");
	make_file(root, "conf/shop.lua", "return {services = {orders = {options = 1}}}");
	assert_refused(load("shop/orders", NULL), "'options' must be a table of names");
	make_file(root, "conf/shop.lua",
		  "return {services = {orders = {upstreams = {'a'}}}}");
	assert_refused(load("shop/orders", NULL), "'upstreams' must be a table of names");
	make_file(root, "conf/shop.lua", "return");
	assert_refused(load("shop/orders", NULL), "must return a table");
	make_file(root, "conf/shop.lua", "return {services = {}}");
	assert_true(load("shop/orders", NULL));
	assert_shown("options", "{}");
	assert_shown("upstreams", "{}");
}

static void upstreams_of_the_environment_come_last(void **state)
{
	setenv("ORRERY_UPSTREAM_USERS", "http://environment", 1);
	setenv("ORRERY_UPSTREAM_MORE", "http://more", 1);
	assert_true(load("shop/orders", NULL));
	assert_shown("upstreams",
		     "{\"stock\":\"http://stock\",\"users\":\"http://file\","
		     "\"users\":\"http://environment\",\"more\":\"http://more\"}");
	assert_shown("options", "{\"a\":1}");
	assert_true(load("hello", NULL));
	assert_shown("upstreams",
		     "{\"users\":\"http://environment\",\"more\":\"http://more\"}");
}

int main(void)
{
#define CLAIM(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest claims[] = {
		CLAIM(later_places_win),
		CLAIM(a_service_is_named_by_its_folder_or_its_file),
		CLAIM(odd_places_are_no_harm),
		CLAIM(the_root_is_where_one_says_or_above),
		CLAIM(what_is_unknown_or_out_of_range_is_refused),
		CLAIM(secrets_come_from_the_environment_only),
		CLAIM(the_labs_file_is_checked),
		CLAIM(upstreams_of_the_environment_come_last),
	};

	return cmocka_run_group_tests(claims, NULL, NULL);
}
