/* SPDX-License-Identifier: MIT */
/* The hub with websockets of paper: what is sent is written down. */
#include "script_rig.h"

#include "api/socket_hub.h"
#include "base/random.h"
#include "http/websocket.h"
#include "loop/worker.h"

#include <stdatomic.h>

struct websocket {
	struct buf got; /* texts, each with a ; behind */
	int closed;
	struct buf reason;
	struct socket_hub *leaves; /* on the next send */
	uint64_t id;
	atomic_uint *count; /* counted here instead of written down */
};

bool websocket_send(struct websocket *websocket, struct slice text)
{
	if (websocket->count) {
		atomic_fetch_add(websocket->count, 1);
		return true;
	}
	buf_append(&websocket->got, text);
	buf_append_byte(&websocket->got, ';');
	if (websocket->leaves)
		socket_hub_remove(websocket->leaves, websocket->id);
	return !websocket->leaves;
}

void websocket_close(struct websocket *websocket, int code, struct slice reason)
{
	websocket->closed = code;
	buf_append(&websocket->reason, reason);
}

static const struct rig_module modules[] = { { "native.ws", api_open_ws }, { 0 } };

static struct rig rig, other;
static struct socket_hub *hub, *far_hub;
static struct websocket sockets[4];

static int open_hubs(void **state)
{
	rig_init(&rig);
	rig_init(&other);
	hub = rig.api.sockets = socket_hub_create(rig.loop);
	far_hub = socket_hub_create(other.loop);
	rig_open(&rig, 32 << 20, modules);
	memset(sockets, 0, sizeof(sockets));
	return 0;
}

static int close_hubs(void **state)
{
	rig_finish(&rig);
	rig_finish(&other);
	socket_hub_destroy(hub);
	socket_hub_destroy(far_hub);
	for (size_t i = 0; i < 4; i++) {
		buf_finish(&sockets[i].got);
		buf_finish(&sockets[i].reason);
	}
	return 0;
}

static void add(struct socket_hub *to, size_t which, const char *one, const char *two)
{
	struct slice channels[2] = { slice_text(one), slice_text(two) };

	sockets[which].id =
		socket_hub_add(to, &sockets[which], channels, (size_t) !!one + !!two);
	socket_hub_check(to);
}

static const char *got(size_t which)
{
	return buf_text(&sockets[which].got);
}

static void turn(void)
{
	loop_turn(rig.loop, 0);
	loop_turn(other.loop, 0);
}

static void a_broadcast_reaches_who_joined(void **state)
{
	add(hub, 0, "orders", NULL);
	add(hub, 1, "orders", "stock");
	add(hub, 2, "stock", NULL);
	add(hub, 3, NULL, NULL);
	socket_hub_broadcast(hub, SLICE("orders"), SLICE("a"));
	assert_string_equal(got(0), "");
	turn();
	socket_hub_broadcast(hub, SLICE("stock"), SLICE("b"));
	socket_hub_broadcast(hub, SLICE("nobody"), SLICE("c"));
	turn();
	assert_string_equal(got(0), "a;");
	assert_string_equal(got(1), "a;b;");
	assert_string_equal(got(2), "b;");
	assert_string_equal(got(3), "");
}

static void joined_hubs_hear_each_other(void **state)
{
	struct socket_hub *hubs[] = { hub, far_hub };

	add(hub, 0, "orders", NULL);
	add(far_hub, 1, "orders", NULL);
	socket_hub_broadcast(hub, SLICE("orders"), SLICE("alone"));
	turn();
	socket_hub_join(hubs, 2);
	socket_hub_broadcast(hub, SLICE("orders"), SLICE("to both"));
	socket_hub_broadcast(far_hub, SLICE("orders"), SLICE("back"));
	turn();
	assert_string_equal(got(0), "alone;to both;back;");
	assert_string_equal(got(1), "to both;back;");
}

static void one_connection_is_sent_to_and_closed(void **state)
{
	add(hub, 0, "orders", NULL);
	assert_true(socket_hub_send(hub, sockets[0].id, SLICE("hello")));
	assert_true(socket_hub_close(hub, sockets[0].id, 4001, SLICE("over")));
	assert_string_equal(got(0), "hello;");
	assert_int_equal(sockets[0].closed, 4001);
	assert_string_equal(buf_text(&sockets[0].reason), "over");
	socket_hub_remove(hub, sockets[0].id);
	socket_hub_remove(hub, sockets[0].id);
	assert_false(socket_hub_send(hub, sockets[0].id, SLICE("late")));
	assert_false(socket_hub_close(hub, sockets[0].id, 1000, SLICE("")));
	assert_int_equal(socket_hub_count(hub), 0);
	socket_hub_check(hub);
}

static void who_leaves_while_it_is_sent_to_harms_nobody(void **state)
{
	for (size_t i = 0; i < 4; i++)
		add(hub, i, "orders", NULL);
	sockets[1].leaves = sockets[3].leaves = hub;
	socket_hub_broadcast(hub, SLICE("orders"), SLICE("a"));
	socket_hub_broadcast(hub, SLICE("orders"), SLICE("b"));
	turn();
	assert_string_equal(got(0), "a;b;");
	assert_string_equal(got(1), "a;");
	assert_string_equal(got(2), "a;b;");
	sockets[0].leaves = sockets[2].leaves = hub;
	socket_hub_broadcast(hub, SLICE("orders"), SLICE("c"));
	socket_hub_broadcast(hub, SLICE("orders"), SLICE("d"));
	turn();
	assert_string_equal(got(0), "a;b;c;");
	assert_int_equal(socket_hub_count(hub), 0);
	socket_hub_check(hub);
}

static void the_same_channel_twice_counts_once(void **state)
{
	add(hub, 0, "orders", "orders");
	socket_hub_broadcast(hub, SLICE("orders"), SLICE("a"));
	turn();
	assert_string_equal(got(0), "a;");
}

static void what_is_on_its_way_at_the_end_is_dropped(void **state)
{
	struct socket_hub *hubs[] = { hub, far_hub };

	socket_hub_join(hubs, 2);
	add(hub, 0, "orders", NULL);
	add(far_hub, 1, "orders", NULL);
	socket_hub_broadcast(hub, SLICE("orders"), SLICE("late"));
	socket_hub_destroy(hub);
	hub = NULL; /* its loop ends after it; far_hub after its loop */
	rig.api.sockets = NULL;
}

static void all_are_closed_at_the_end(void **state)
{
	add(hub, 0, "orders", NULL);
	add(hub, 1, NULL, NULL);
	socket_hub_close_all(hub, 1001);
	assert_int_equal(sockets[0].closed, 1001);
	assert_int_equal(sockets[1].closed, 1001);
	assert_int_equal(socket_hub_count(hub), 2);
}

static void scripts_broadcast(void **state)
{
	add(hub, 0, "orders", NULL);
	assert_run(&rig, "require('native.ws').broadcast('orders', '{\"type\":\"x\"}')",
		   "");
	turn();
	assert_string_equal(got(0), "{\"type\":\"x\"};");
	assert_contains(
		rig_run(&rig, "require('native.ws').broadcast('orders', '\\255')"),
		"not UTF-8");
	assert_contains(rig_run(&rig, "require('native.ws').broadcast('orders')"),
			"string expected");
	rig.api.sockets = NULL;
	assert_contains(rig_run(&rig, "require('native.ws').broadcast('orders', 'x')"),
			"unavailable: ");
}

static void a_random_walk_keeps_the_invariants(void **state)
{
	static const char *const names[] = { "a", "b", "c", "d", "e", "f", "g", "h" };
	struct websocket many[300];
	struct random random;

	memset(many, 0, sizeof(many));
	random_init(&random, 11);
	for (int step = 0; step < 5000; step++) {
		struct websocket *one = &many[random_below(&random, 300)];
		struct slice channels[4];
		size_t count = random_below(&random, 5);
		char long_name[24];

		for (size_t i = 0; i < count; i++)
			channels[i] = slice_text(names[random_below(&random, 8)]);
		if (count) {
			snprintf(long_name, sizeof(long_name), "user %d", step);
			channels[0] = slice_text(long_name);
		}
		if (one->id) {
			socket_hub_remove(hub, one->id);
			one->id = 0;
		} else {
			one->id = socket_hub_add(hub, one, channels, count);
		}
		if (step % 50 == 0) {
			socket_hub_check(hub);
			socket_hub_broadcast(hub, SLICE("c"), SLICE("x"));
			turn();
		}
	}
	for (size_t i = 0; i < 300; i++) {
		socket_hub_remove(hub, many[i].id);
		buf_finish(&many[i].got);
	}
	assert_int_equal(socket_hub_count(hub), 0);
	socket_hub_check(hub);
}

/* --- two threads ------------------------------------------------------------------ */

#define ROUNDS 2000

struct side {
	struct rig *rig;
	struct socket_hub *hub;
	struct websocket websocket;
	atomic_uint *count;
};

static void run_side(void *context)
{
	struct side *side = context;

	for (int i = 0; i < ROUNDS; i++) {
		socket_hub_broadcast(side->hub, SLICE("orders"), SLICE("hello"));
		loop_turn(side->rig->loop, 0);
	}
	while (atomic_load(side->count) < 4 * ROUNDS)
		loop_turn(side->rig->loop, 1);
}

static void two_workers_broadcast_to_each_other(void **state)
{
	struct socket_hub *hubs[] = { hub, far_hub };
	struct slice channel = SLICE("orders");
	atomic_uint count = 0;
	struct side sides[2] = { { &rig, hub, { .count = &count }, &count },
				 { &other, far_hub, { .count = &count }, &count } };
	struct thread *thread;

	socket_hub_join(hubs, 2);
	for (size_t i = 0; i < 2; i++)
		socket_hub_add(hubs[i], &sides[i].websocket, &channel, 1);
	thread = thread_start("side", run_side, &sides[1]);
	run_side(&sides[0]);
	thread_join(thread);
	assert_int_equal(atomic_load(&count), 4 * ROUNDS);
}

#define hub_test(f) cmocka_unit_test_setup_teardown(f, open_hubs, close_hubs)

int main(void)
{
	const struct CMUnitTest tests[] = {
		hub_test(a_broadcast_reaches_who_joined),
		hub_test(joined_hubs_hear_each_other),
		hub_test(one_connection_is_sent_to_and_closed),
		hub_test(who_leaves_while_it_is_sent_to_harms_nobody),
		hub_test(the_same_channel_twice_counts_once),
		hub_test(what_is_on_its_way_at_the_end_is_dropped),
		hub_test(all_are_closed_at_the_end),
		hub_test(scripts_broadcast),
		hub_test(a_random_walk_keeps_the_invariants),
		hub_test(two_workers_broadcast_to_each_other),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
