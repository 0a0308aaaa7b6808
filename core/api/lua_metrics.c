/* SPDX-License-Identifier: MIT */
/* native.metrics -- series of scripts.
 *
 * An object holds its family, which lives as long as the registry, longer than any VM. To
 * record is a hot path: a check of the object, the label values off the stack, a hash
 * look-up, a step; no malloc once the series exists.
 */
#include "api/api.h"

#include "loop/loop.h"
#include "script/vm.h"
#include "watch/metrics.h"

#include <lauxlib.h>

struct object {
	struct metric *metric;
	size_t label_count;
	char name[]; /* terminated */
};

/* Metatables, by type of family; also the names that error messages show. */
static const char *const type_names[] = { [METRIC_counter] = "counter",
					  [METRIC_gauge] = "gauge",
					  [METRIC_histogram] = "histogram",
					  [METRIC_summary] = "summary" };

/* --- recording -------------------------------------------------------------------- */

/* A VM without a loop is one that is loaded aside: what it records shows when it serves.
 */
static struct meter *meter_of(const struct api *api)
{
	const struct loop *loop = vm_loop(api->vm);

	return loop ? loop_observer(loop)->meter
		    : metrics_edition_meter(api->metrics, api->edition);
}

/* The series of the label values that begin at index; raises when their number is wrong.
 */
static struct series *check_series(lua_State *L, enum metric_type type, int index)
{
	const struct object *object = luaL_checkudata(L, 1, type_names[type]);
	struct slice values[METRIC_LABELS_MAX];
	int given = lua_gettop(L) - index + 1;

	if (given != (int)object->label_count)
		luaL_error(L, "%s has %d labels, not %d", object->name,
			   (int)object->label_count, given < 0 ? 0 : given);
	for (size_t i = 0; i < object->label_count; i++) {
		int at = index + (int)i;

		if (lua_type(L, at) == LUA_TBOOLEAN)
			values[i] = lua_toboolean(L, at) ? SLICE("true") : SLICE("false");
		else if (lua_isstring(L, at))
			values[i].at = lua_tolstring(L, at, &values[i].size);
		else
			luaL_error(L, "%s: label value %d is a %s", object->name,
				   (int)i + 1, luaL_typename(L, at));
	}
	return meter_series(meter_of(api_of(L)), object->metric, values,
			    object->label_count);
}

static double check_amount(lua_State *L, enum metric_type type)
{
	const struct object *object = luaL_checkudata(L, 1, type_names[type]);
	double amount = luaL_checknumber(L, 2);

	if (amount != amount)
		luaL_error(L, "%s: not a number", object->name);
	if (type == METRIC_counter && amount < 0)
		luaL_error(L, "%s: a counter does not go down", object->name);
	if (type == METRIC_summary && amount < 0)
		luaL_error(L, "%s: a summary observes nothing negative", object->name);
	return amount;
}

/* counter:add(amount, label values...) -> */
static int l_counter_add(lua_State *L)
{
	double amount = check_amount(L, METRIC_counter);

	series_add(check_series(L, METRIC_counter, 3), amount);
	return 0;
}

/* counter:inc(label values...) -> */
static int l_counter_inc(lua_State *L)
{
	series_add(check_series(L, METRIC_counter, 2), 1);
	return 0;
}

/* counter:zero(label values...) -> : the series exists from now on */
static int l_counter_zero(lua_State *L)
{
	check_series(L, METRIC_counter, 2);
	return 0;
}

/* gauge:add(amount, label values...) -> */
static int l_gauge_add(lua_State *L)
{
	double amount = check_amount(L, METRIC_gauge);

	series_add(check_series(L, METRIC_gauge, 3), amount);
	return 0;
}

/* gauge:set(value, label values...) -> */
static int l_gauge_set(lua_State *L)
{
	double value = check_amount(L, METRIC_gauge);

	series_set(check_series(L, METRIC_gauge, 3), value);
	return 0;
}

/* gauge:zero(label values...) -> */
static int l_gauge_zero(lua_State *L)
{
	check_series(L, METRIC_gauge, 2);
	return 0;
}

/* histogram:observe(value, label values...) -> */
static int l_histogram_observe(lua_State *L)
{
	double value = check_amount(L, METRIC_histogram);

	series_observe(check_series(L, METRIC_histogram, 3), value);
	return 0;
}

/* histogram:zero(label values...) -> */
static int l_histogram_zero(lua_State *L)
{
	check_series(L, METRIC_histogram, 2);
	return 0;
}

/* summary:observe(value, label values...) -> */
static int l_summary_observe(lua_State *L)
{
	double value = check_amount(L, METRIC_summary);

	series_observe(check_series(L, METRIC_summary, 3), value);
	return 0;
}

/* summary:zero(label values...) -> */
static int l_summary_zero(lua_State *L)
{
	check_series(L, METRIC_summary, 2);
	return 0;
}

/* --- declaring -------------------------------------------------------------------- */

static void read_labels(lua_State *L, int index, struct metric_def *def)
{
	if (lua_isnoneornil(L, index))
		return;
	luaL_checktype(L, index, LUA_TTABLE);
	def->label_count = lua_objlen(L, index);
	luaL_argcheck(L, def->label_count <= METRIC_LABELS_MAX, index, "too many labels");
	for (size_t i = 0; i < def->label_count; i++) {
		lua_rawgeti(L, index, (int)i + 1);
		luaL_argcheck(L, lua_type(L, -1) == LUA_TSTRING, index,
			      "names of labels are texts");
		/* The table keeps it. */
		def->labels[i].at = lua_tolstring(L, -1, &def->labels[i].size);
		lua_pop(L, 1);
	}
}

/* what: "bounds" or "quantiles" */
static void read_bounds(lua_State *L, int index, struct metric_def *def, const char *what)
{
	if (lua_isnoneornil(L, index))
		return;
	luaL_checktype(L, index, LUA_TTABLE);
	def->bound_count = lua_objlen(L, index);
	if (def->bound_count > METRIC_BOUNDS_MAX)
		luaL_error(L, "%s: too many %s", def->name.at, what);
	for (size_t i = 0; i < def->bound_count; i++) {
		lua_rawgeti(L, index, (int)i + 1);
		if (lua_type(L, -1) != LUA_TNUMBER)
			luaL_error(L, "%s: %s are numbers", def->name.at, what);
		def->bounds[i] = lua_tonumber(L, -1);
		lua_pop(L, 1);
	}
}

/* The base unit that a good name ends in, as OpenTelemetry writes it. */
static struct slice unit_of(struct slice name)
{
	static const struct {
		struct slice end;
		struct slice unit;
	} units[] = { { { "_bytes", 6 }, { "By", 2 } },
		      { { "_bytes_total", 12 }, { "By", 2 } },
		      { { "_seconds", 8 }, { "s", 1 } },
		      { { "_seconds_total", 14 }, { "s", 1 } } };

	for (size_t i = 0; i < sizeof(units) / sizeof(*units); i++) {
		struct slice end = units[i].end;

		if (name.size > end.size &&
		    slice_equal(slice_of(name.at + name.size - end.size, end.size), end))
			return units[i].unit;
	}
	return (struct slice){ 0 };
}

static int declare(lua_State *L, enum metric_type type)
{
	const struct api *api = api_of(L);
	struct metric_def def = { .type = type };
	struct object *object;
	struct fault why;

	def.name = api_check_slice(L, 1);
	def.help = api_check_slice(L, 2);
	def.otlp_unit = unit_of(def.name);
	read_labels(L, 3, &def);
	if (type == METRIC_histogram)
		read_bounds(L, 4, &def, "bounds");
	if (type == METRIC_summary)
		read_bounds(L, 4, &def, "quantiles");
	object = lua_newuserdata(L, sizeof(*object) + def.name.size + 1);
	object->label_count = def.label_count;
	memcpy(object->name, def.name.at, def.name.size + 1);
	object->metric = metrics_declare_in(api->metrics, api->edition, &def, &why);
	if (!object->metric)
		return luaL_error(L, "%s", why.detail);
	luaL_getmetatable(L, type_names[type]);
	lua_setmetatable(L, -2);
	if (def.label_count == 0)
		meter_series(meter_of(api), object->metric, NULL, 0);
	return 1;
}

/* metrics.counter(name, help, [labels]) -> counter */
static int l_metrics_counter(lua_State *L)
{
	return declare(L, METRIC_counter);
}

/* metrics.gauge(name, help, [labels]) -> gauge */
static int l_metrics_gauge(lua_State *L)
{
	return declare(L, METRIC_gauge);
}

/* metrics.histogram(name, help, [labels], [bounds]) -> histogram */
static int l_metrics_histogram(lua_State *L)
{
	return declare(L, METRIC_histogram);
}

/* metrics.summary(name, help, [labels], [quantiles]) -> summary */
static int l_metrics_summary(lua_State *L)
{
	return declare(L, METRIC_summary);
}

static void make_type(lua_State *L, const struct api *api, enum metric_type type,
		      const luaL_Reg *methods)
{
	luaL_newmetatable(L, type_names[type]);
	api_module(L, api, methods, NULL);
	lua_setfield(L, -2, "__index");
	lua_pushboolean(L, 0);
	lua_setfield(L, -2, "__metatable");
	lua_pop(L, 1);
}

void api_open_metrics(lua_State *L, const struct api *api)
{
	static const luaL_Reg counter[] = { { "add", l_counter_add },
					    { "inc", l_counter_inc },
					    { "zero", l_counter_zero },
					    { NULL, NULL } };
	static const luaL_Reg gauge[] = { { "add", l_gauge_add },
					  { "set", l_gauge_set },
					  { "zero", l_gauge_zero },
					  { NULL, NULL } };
	static const luaL_Reg histogram[] = { { "observe", l_histogram_observe },
					      { "zero", l_histogram_zero },
					      { NULL, NULL } };
	static const luaL_Reg summary[] = { { "observe", l_summary_observe },
					    { "zero", l_summary_zero },
					    { NULL, NULL } };
	static const luaL_Reg calls[] = { { "counter", l_metrics_counter },
					  { "gauge", l_metrics_gauge },
					  { "histogram", l_metrics_histogram },
					  { "summary", l_metrics_summary },
					  { NULL, NULL } };

	make_type(L, api, METRIC_counter, counter);
	make_type(L, api, METRIC_gauge, gauge);
	make_type(L, api, METRIC_histogram, histogram);
	make_type(L, api, METRIC_summary, summary);
	api_module(L, api, calls, NULL);
}
