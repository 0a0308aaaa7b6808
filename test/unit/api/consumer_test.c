/* SPDX-License-Identifier: MIT */
#include "service_rig.h"

#include "api/consumer.h"
#include "store/amqp.h"

static const char source[] =
	"local fault, task, log = require 'native.fault', require 'native.task',\n"
	"  require 'native.log'\n"
	"return {name = 'test', consumers = {{queue = 'q', bind = {'order.*'},\n"
	"  prefetch = 4, handler = function(m)\n"
	"    log.info('got', {queue = m.queue, key = m.routing_key, exchange = "
	"m.exchange,\n"
	"      id = m.message_id, what = m.body.what, again = m.redelivered,\n"
	"      header = m.headers.h})\n"
	"    if m.body.what == 'raise' then fault.raise('refused', 'not now') end\n"
	"    if m.body.away then fault.raise(m.body.away, 'nobody there') end\n"
	"    if m.body.what == 'reject' then fault.raise('bad_input', 'no such') end\n"
	"    if m.body.what == 'sleep' then task.sleep(60) end\n"
	"    return m.body.what\n"
	"  end}}}\n";

static struct rig rig;
static struct service *service;
static struct consumer *consumer;
static struct buf lines;

/* The broker's side: what the consumer decided. */
static int settled;
static enum amqp_verdict last_verdict;
static int last_delay_ms;

void amqp_settle(struct amqp *amqp, struct amqp_delivery *delivery,
		 enum amqp_verdict verdict, int delay_ms)
{
	settled++;
	last_verdict = verdict;
	last_delay_ms = delay_ms;
}

static int open_rig(void **state)
{
	struct fault why;

	rig_init(&rig);
	rig_open(&rig, 8 << 20, service_rig_modules);
	service = service_rig_load(rig.vm, source, &why);
	if (!service)
		fail_msg("%s", why.detail);
	consumer = consumer_create(rig.loop, rig.vm, NULL, &service->consumers[0]);
	settled = 0;
	return 0;
}

static int close_rig(void **state)
{
	vm_destroy(rig.vm);
	rig.vm = NULL;
	consumer_destroy(consumer);
	service_destroy(service);
	rig_finish(&rig);
	buf_finish(&lines);
	return 0;
}

static struct amqp_delivery delivery_of(const char *body)
{
	static const struct amqp_header header = { { "h", 1 }, { "value", 5 } };

	return (struct amqp_delivery){
		.message = { .exchange = SLICE("events"),
			     .routing_key = SLICE("order.created"),
			     .message_id = SLICE("m-1"),
			     .body = slice_text(body),
			     .headers = &header,
			     .header_count = 1 },
		.queue = SLICE("q"),
		.tag = 7,
	};
}

static void deliver(struct amqp_delivery *delivery)
{
	consumer_deliver(consumer, delivery);
	assert_int_equal(settled, 0);
	for (int turns = 0; turns < 100 && !settled; turns++)
		loop_turn(rig.loop, 10);
	assert_int_equal(settled, 1);
}

static const char *logged(void)
{
	buf_reset(&lines);
	while (log_hub_drain(rig.logs, 64, service_rig_take_line, &lines))
		;
	return buf_text(&lines);
}

static void what_returns_is_acknowledged(void **state)
{
	struct amqp_delivery delivery = delivery_of("{\"what\":\"fine\"}");

	deliver(&delivery);
	assert_int_equal(last_verdict, AMQP_ack);
	assert_contains(logged(), "\"what\":\"fine\"");
	assert_contains(buf_text(&lines), "\"message\":\"message handled\"");
	assert_contains(buf_text(&lines), "\"key\":\"order.created\"");
	assert_contains(buf_text(&lines), "\"id\":\"m-1\"");
	assert_contains(buf_text(&lines), "\"header\":\"value\"");
	assert_contains(buf_text(&lines), "\"again\":false");
}

static void a_fault_has_the_message_come_again_later_and_later(void **state)
{
	static const int delays[][2] = {
		{ 0, 200 }, { 1, 400 }, { 3, 1600 }, { 6, 10000 }, { 9, 10000 }
	};

	for (size_t i = 0; i < sizeof(delays) / sizeof(*delays); i++) {
		struct amqp_delivery delivery = delivery_of("{\"what\":\"raise\"}");

		settled = 0;
		delivery.delivery_count = (unsigned)delays[i][0];
		deliver(&delivery);
		assert_int_equal(last_verdict, AMQP_retry);
		assert_int_equal(last_delay_ms, delays[i][1]);
	}
	assert_contains(logged(), "\"kind\":\"refused\"");
	assert_contains(buf_text(&lines), "\"message\":\"message failed\"");
}

static void while_somebody_is_away_it_is_no_attempt(void **state)
{
	static const char *const bodies[] = { "{\"away\":\"unavailable\"}",
					      "{\"away\":\"timeout\"}",
					      "{\"away\":\"uncertain\"}" };

	for (size_t i = 0; i < sizeof(bodies) / sizeof(*bodies); i++) {
		struct amqp_delivery delivery = delivery_of(bodies[i]);

		settled = 0;
		delivery.delivery_count = CONSUMER_AWAY_ATTEMPTS - 1;
		deliver(&delivery); /* another process may reach him */
		assert_int_equal(last_verdict, AMQP_retry);

		settled = 0;
		delivery.delivery_count = CONSUMER_AWAY_ATTEMPTS;
		delivery.again_count = (unsigned)i;
		deliver(&delivery);
		assert_int_equal(last_verdict, AMQP_again);
		assert_int_equal(last_delay_ms, i ? 10000 : 6400);
	}
}

static void what_can_never_work_is_set_aside_at_once(void **state)
{
	static const char *const bodies[] = { "{\"what\":\"reject\"}", "no json", "", "{",
					      "\"\xff\"" };

	for (size_t i = 0; i < sizeof(bodies) / sizeof(*bodies); i++) {
		struct amqp_delivery delivery = delivery_of(bodies[i]);

		settled = 0;
		deliver(&delivery);
		assert_int_equal(last_verdict, AMQP_dead);
		assert_contains(logged(), "\"kind\":\"bad_input\"");
		assert_contains(buf_text(&lines), "\"dead_lettered\":true");
	}
}

static void a_script_that_breaks_is_told_with_its_traceback(void **state)
{
	struct amqp_delivery delivery = delivery_of("7");

	deliver(&delivery);
	assert_int_equal(last_verdict, AMQP_retry);
	assert_contains(logged(), "stack traceback:");
	buf_reset(&lines);
	prometheus_write(&lines, rig.metrics, PROMETHEUS_text, PROMETHEUS_default);
	assert_contains(buf_text(&lines), "task_faults_total{kind=\"internal\"} 1\n");
}

static void every_message_is_counted_by_queue_and_outcome(void **state)
{
	static const char *const bodies[] = { "{\"what\":\"fine\"}",
					      "{\"what\":\"raise\"}",
					      "{\"what\":\"fine\"}", "no json" };

	for (size_t i = 0; i < sizeof(bodies) / sizeof(*bodies); i++) {
		struct amqp_delivery delivery = delivery_of(bodies[i]);

		settled = 0;
		deliver(&delivery);
	}
	buf_reset(&lines);
	prometheus_write(&lines, rig.metrics, PROMETHEUS_text, PROMETHEUS_default);
	assert_contains(buf_text(&lines), "messaging_consumed_messages_total"
					  "{queue=\"q\",outcome=\"ok\"} 2\n");
	assert_contains(buf_text(&lines), "messaging_consumed_messages_total"
					  "{queue=\"q\",outcome=\"refused\"} 1\n");
	assert_contains(buf_text(&lines), "messaging_consumed_messages_total"
					  "{queue=\"q\",outcome=\"bad_input\"} 1\n");
}

static void the_trace_of_the_message_goes_on(void **state)
{
	struct amqp_delivery delivery = delivery_of("{\"what\":\"traced\"}");
	struct trace_context parent;

	assert_true(trace_parse(
		SLICE("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
		SLICE(""), &parent));
	delivery.parent = &parent;
	deliver(&delivery);
	assert_contains(logged(), "\"trace_id\":\"0af7651916cd43dd8448eb211c80319c\"");
}

static void the_end_gives_back_what_is_being_handled(void **state)
{
	struct amqp_delivery delivery = delivery_of("{\"what\":\"sleep\"}");

	assert_true(consumer_idle(consumer));
	consumer_deliver(consumer, &delivery);
	assert_false(consumer_idle(consumer));
	loop_turn(rig.loop, 0);
	assert_int_equal(task_count(rig.vm), 1);
	vm_destroy(rig.vm);
	rig.vm = NULL;
	assert_int_equal(settled, 1);
	assert_int_equal(last_verdict, AMQP_retry);
	assert_true(consumer_idle(consumer));
	assert_lacks(logged(), "cancelled");
}

static int fill(lua_State *L)
{
	int *reference = vm_call_data(L);

	lua_newuserdata(L, 9 << 20);
	*reference = luaL_ref(L, LUA_REGISTRYINDEX);
	return 0;
}

static void hand_out_at(struct mono now, struct amqp_delivery *delivery)
{
	clock_set(&now, NULL);
	loop_turn(rig.loop, 0);
	settled = 0;
	consumer_deliver(consumer, delivery);
	assert_int_equal(settled, 1);
	assert_int_equal(last_verdict, AMQP_retry);
	assert_int_equal(last_delay_ms, CONSUMER_NO_ROOM_MS);
	assert_int_equal(task_count(rig.vm), 0);
}

static void without_memory_messages_go_back_and_a_minute_has_one_warning(void **state)
{
	struct amqp_delivery delivery = delivery_of("{\"what\":\"fine\"}");
	struct mono start = clock_mono(), later;
	int reference;

	vm_call(rig.vm, fill, &reference, NULL);
	hand_out_at(start, &delivery);
	assert_contains(logged(), "no memory for messages");
	assert_contains(buf_text(&lines), "\"queue\":\"q\"");
	hand_out_at(mono_after_ms(start, 59000), &delivery);
	assert_string_equal(logged(), "");
	hand_out_at(mono_after_ms(start, 61000), &delivery);
	assert_contains(logged(), "no memory for messages");

	luaL_unref(vm_main(rig.vm), LUA_REGISTRYINDEX, reference);
	later = mono_after_ms(start, 70000);
	clock_set(&later, NULL);
	settled = 0;
	deliver(&delivery);
	clock_set(NULL, NULL);
	assert_int_equal(last_verdict, AMQP_ack);
}

int main(void)
{
#define CLAIM(name) cmocka_unit_test_setup_teardown(name, open_rig, close_rig)
	const struct CMUnitTest claims[] = {
		CLAIM(what_returns_is_acknowledged),
		CLAIM(a_fault_has_the_message_come_again_later_and_later),
		CLAIM(while_somebody_is_away_it_is_no_attempt),
		CLAIM(what_can_never_work_is_set_aside_at_once),
		CLAIM(a_script_that_breaks_is_told_with_its_traceback),
		CLAIM(every_message_is_counted_by_queue_and_outcome),
		CLAIM(the_trace_of_the_message_goes_on),
		CLAIM(the_end_gives_back_what_is_being_handled),
		CLAIM(without_memory_messages_go_back_and_a_minute_has_one_warning),
	};

	return cmocka_run_group_tests(claims, NULL, NULL);
}
