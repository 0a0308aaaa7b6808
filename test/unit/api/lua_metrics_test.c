/* SPDX-License-Identifier: MIT */
#include "script_rig.h"

#include "watch/prometheus.h"

static const struct rig_module modules[] = { { "native.metrics", api_open_metrics },
					     { 0 } };

static struct rig rig;
static struct buf page;

#define METRICS "local metrics = require 'native.metrics' "

static int open_rig(void **state)
{
	rig_init(&rig);
	rig_open(&rig, 32 << 20, modules);
	return 0;
}

static int close_rig(void **state)
{
	rig_finish(&rig);
	buf_finish(&page);
	return 0;
}

static const char *scrape(void)
{
	buf_reset(&page);
	prometheus_write(&page, rig.metrics, PROMETHEUS_text, PROMETHEUS_default);
	return buf_text(&page);
}

static void counters_count(void **state)
{
	assert_run(&rig,
		   METRICS
		   "local c = metrics.counter('sold_total', 'Sold.', {'colour', 'big'}) "
		   "c:inc('red', true) c:add(2.5, 'red', true) c:inc('blue', 7) "
		   "c:zero('green', false)",
		   "");
	assert_contains(scrape(), "sold_total{colour=\"red\",big=\"true\"} 3.5\n");
	assert_contains(scrape(), "sold_total{colour=\"blue\",big=\"7\"} 1\n");
	assert_contains(scrape(), "sold_total{colour=\"green\",big=\"false\"} 0\n");
}

static void gauges_are_set_or_added_to(void **state)
{
	assert_run(&rig,
		   METRICS "local g = metrics.gauge('depth', 'Depth.', {'queue'}) "
			   "g:set(5, 'a') g:set(3, 'a') "
			   "local h = metrics.gauge('open', 'Open.') h:add(3) h:add(-1)",
		   "");
	assert_contains(scrape(), "depth{queue=\"a\"} 3\n");
	assert_contains(scrape(), "\nopen 2\n");
}

static void histograms_observe(void **state)
{
	assert_run(&rig,
		   METRICS
		   "local h = metrics.histogram('size_bytes', 'Size.', nil, {10, 100}) "
		   "h:observe(7) h:observe(70) h:observe(700)",
		   "");
	assert_contains(scrape(), "size_bytes_bucket{le=\"10.0\"} 1\n");
	assert_contains(scrape(), "size_bytes_bucket{le=\"100.0\"} 2\n");
	assert_contains(scrape(), "size_bytes_sum 777\n");
	assert_contains(scrape(), "size_bytes_count 3\n");
}

static void summaries_tell_quantiles(void **state)
{
	assert_run(&rig,
		   METRICS "local s = metrics.summary('wait_seconds', 'Waits.', {'x'}) "
			   "for i = 1, 95 do s:observe(0.5, 'a') end "
			   "for i = 1, 5 do s:observe(4, 'a') end s:zero('b') "
			   "metrics.summary('early_waits', 'W.', nil, {0.25}):observe(2)",
		   "");
	assert_contains(scrape(), "# TYPE wait_seconds summary\n");
	assert_contains(scrape(), "wait_seconds{x=\"a\",quantile=\"0.9\"} 0.5078125\n");
	assert_contains(scrape(), "wait_seconds{x=\"a\",quantile=\"0.99\"} 4.0625\n");
	assert_contains(scrape(), "wait_seconds_sum{x=\"a\"} 67.5\n");
	assert_contains(scrape(), "wait_seconds_count{x=\"a\"} 100\n");
	assert_contains(scrape(), "wait_seconds{x=\"b\",quantile=\"0.5\"} NaN\n");
	assert_contains(scrape(), "early_waits{quantile=\"0.25\"} 2.03125\n");
	assert_lacks(scrape(), "early_waits{quantile=\"0.5\"}");
}

static void a_series_without_labels_exists_from_the_start(void **state)
{
	assert_run(
		&rig,
		METRICS
		"metrics.counter('early_total', 'Early.') metrics.gauge('soon', 'Soon.') "
		"metrics.histogram('early_seconds', 'Early.')",
		"");
	assert_contains(scrape(), "early_total 0\n");
	assert_contains(scrape(), "\nsoon 0\n");
	assert_contains(scrape(), "early_seconds_count 0\n");
}

static void declared_again_it_is_the_same(void **state)
{
	assert_run(&rig,
		   METRICS "metrics.counter('twice_total', 'Twice.'):inc() "
			   "metrics.counter('twice_total', 'Twice.'):inc()",
		   "");
	assert_contains(scrape(), "twice_total 2\n");
	assert_contains(
		rig_run(&rig, METRICS "metrics.counter('twice_total', 'Twice.', {'x'})"),
		"twice_total");
	assert_contains(rig_run(&rig, METRICS "metrics.gauge('twice_total', 'Twice.')"),
			"twice_total");
}

/* The message names the metric and the script's line. */
static void wrong_use_is_an_error_that_names_the_metric(void **state)
{
	assert_run(&rig,
		   METRICS "local c = metrics.counter('wrong_total', 'Wrong.', {'a', "
			   "'b'}) c:inc('x')",
		   "internal: test:1: wrong_total has 2 labels, not 1");
	assert_contains(rig_run(&rig, METRICS "metrics.counter('wrong_total', 'Wrong.', "
					      "{'a', 'b'}):inc('x', 'y', 'z')"),
			"wrong_total has 2 labels, not 3");
	assert_contains(rig_run(&rig, METRICS "metrics.counter('wrong_total', 'Wrong.', "
					      "{'a', 'b'}):inc('x', {})"),
			"wrong_total: label value 2 is a table");
	assert_contains(rig_run(&rig, METRICS "metrics.counter('wrong_total', 'Wrong.', "
					      "{'a', 'b'}):inc('x', nil)"),
			"wrong_total: label value 2 is a nil");
	assert_contains(
		rig_run(&rig, METRICS "metrics.counter('down_total', 'Down.'):add(-1)"),
		"down_total: a counter does not go down");
	assert_contains(
		rig_run(&rig, METRICS "metrics.summary('below', 'Below.'):observe(-1)"),
		"below: a summary observes nothing negative");
	assert_contains(rig_run(&rig, METRICS "metrics.gauge('nan', 'Nan.'):set(0/0)"),
			"nan: not a number");
	assert_contains(rig_run(&rig, METRICS "metrics.gauge('nan', 'Nan.'):set()"),
			"number expected");
	assert_contains(rig_run(&rig, METRICS "metrics.gauge('nan', 'Nan.').set(1, 2)"),
			"gauge expected");
	assert_contains(rig_run(&rig, METRICS
				"local g = metrics.gauge('nan', 'Nan.') "
				"metrics.counter('down_total', 'Down.').add(g, 1)"),
			"counter expected");
}

static void bad_definitions_are_refused(void **state)
{
	assert_contains(
		rig_run(&rig, METRICS "metrics.counter('no spaces_total', 'No.')"),
		"bad metric name");
	assert_contains(rig_run(&rig, METRICS "metrics.counter('no_suffix', 'No.')"),
			"_total");
	assert_contains(rig_run(&rig, METRICS "metrics.gauge('g', 'G.', {'a-b'})"),
			"bad label name");
	assert_contains(rig_run(&rig, METRICS "metrics.gauge('g', 'G.', {1})"),
			"names of labels are texts");
	assert_contains(rig_run(&rig, METRICS "metrics.gauge('g', 'G.', 'a')"),
			"table expected");
	assert_contains(rig_run(&rig, METRICS "metrics.gauge('g', 'G.', "
					      "{'a','b','c','d','e','f','g','h','i'})"),
			"too many labels");
	assert_contains(
		rig_run(&rig, METRICS "metrics.histogram('h', 'H.', nil, {2, 1})"),
		"ascending");
	assert_contains(rig_run(&rig, METRICS "metrics.histogram('h', 'H.', nil, {'x'})"),
			"h: bounds are numbers");
	assert_contains(rig_run(&rig, METRICS "metrics.summary('s', 'S.', nil, {'x'})"),
			"s: quantiles are numbers");
	assert_contains(rig_run(&rig, METRICS "metrics.summary('s', 'S.', nil, {50})"),
			"s: quantiles must be from 0 to 1 and ascending");
	assert_contains(rig_run(&rig, METRICS "local many = {} for i = 1, 33 do "
					      "many[i] = i / 100 end "
					      "metrics.summary('s', 'S.', nil, many)"),
			"s: too many quantiles");
	assert_contains(rig_run(&rig, METRICS "metrics.summary('s', 'S.', {'quantile'})"),
			"bad label name 'quantile'");
	assert_contains(rig_run(&rig, METRICS "metrics.gauge('g')"), "string expected");
}

static void objects_are_closed(void **state)
{
	assert_run(&rig,
		   METRICS "local g = metrics.gauge('closed', 'Closed.') "
			   "return getmetatable(g), pcall(function() g.set = 1 end)",
		   "false false test:1: attempt to index upvalue 'g' (a userdata value)");
}

/* --- a service that is loaded aside ----------------------------------------------- */

static int load(lua_State *L)
{
	rig_push_source(L, vm_call_data(L));
	lua_call(L, 0, 0);
	return 0;
}

/* Loads the source in a VM without a loop, in an edition, as a new version of a service
 * is; then the edition is committed when it loaded, and dropped when not. */
static bool load_aside(const char *source)
{
	struct vm_config config = { .memory_max = 32 << 20, .lib_dir = "/nowhere/lib" };
	struct api api = rig.api;
	void *data[2] = { &api, (void *)modules };
	bool loaded;

	api.edition = metrics_edition_begin(rig.metrics);
	api.vm = vm_create(NULL, &config);
	assert_int_equal(vm_call(api.vm, rig_open_modules, data, NULL), 0);
	loaded = vm_call(api.vm, load, (void *)source, NULL) >= 0;
	assert_lacks(scrape(), "aside");
	if (loaded)
		metrics_edition_commit(rig.metrics, api.edition, NULL, NULL);
	else
		metrics_edition_drop(rig.metrics, api.edition);
	vm_destroy(api.vm);
	return loaded;
}

#define ASIDE                                                                            \
	METRICS "local c = metrics.counter('aside_total', 'Aside.', {'kind'}) "          \
		"c:zero('a') c:inc('b') metrics.gauge('aside_state', 'State.'):set(4) "  \
		"metrics.histogram('aside_seconds', 'Aside.') "                          \
		"metrics.summary('aside_quantiles', 'Aside.'):observe(2) "

static void what_a_service_declares_aside_shows_once_it_serves(void **state)
{
	assert_false(load_aside(ASIDE "error('bad')"));
	assert_lacks(scrape(), "aside");
	assert_true(load_aside(ASIDE));
	assert_contains(scrape(), "aside_total{kind=\"a\"} 0\n");
	assert_contains(scrape(), "aside_total{kind=\"b\"} 1\n");
	assert_contains(scrape(), "\naside_state 4\n");
	assert_contains(scrape(), "aside_seconds_count 0\n");
	assert_contains(scrape(), "aside_quantiles{quantile=\"0.5\"} 2.03125\n");
	assert_contains(scrape(), "aside_quantiles_count 1\n");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(counters_count),
		cmocka_unit_test(gauges_are_set_or_added_to),
		cmocka_unit_test(histograms_observe),
		cmocka_unit_test(summaries_tell_quantiles),
		cmocka_unit_test(a_series_without_labels_exists_from_the_start),
		cmocka_unit_test(declared_again_it_is_the_same),
		cmocka_unit_test(wrong_use_is_an_error_that_names_the_metric),
		cmocka_unit_test(bad_definitions_are_refused),
		cmocka_unit_test(objects_are_closed),
		cmocka_unit_test(what_a_service_declares_aside_shows_once_it_serves),
	};

	return cmocka_run_group_tests(tests, open_rig, close_rig);
}
