/* SPDX-License-Identifier: MIT */
/* WebSocket connections that go from one generation of a service to the next. */
#include "socket_client.h"

#include "base/random.h"

static const char source[] =
	"local task, log = require 'native.task', require 'native.log'\n"
	"local sockets, kept = {}, nil\n"
	"local function message(conn, text)\n"
	"  if text == 'slow' then task.sleep(0.05) end\n"
	"  if text == 'hang' then task.sleep(60) end\n"
	"  if text == 'odd' then conn.state.fn = function() end end\n"
	"  if text == 'keep' then kept = conn end\n"
	"  if text == 'kept' then task.sleep(0.05) kept:send('kept ' .. VERSION) end\n"
	"  local state = conn.state\n"
	"  state.n = (state.n or 0) + 1\n"
	"  conn:send(text .. ' ' .. state.n .. ' v' .. VERSION .. ' '\n"
	"    .. conn.channels[1] .. ' ' .. conn.id)\n"
	"end\n"
	"local function close(conn, code)\n"
	"  log.info('closed', {code = code, n = conn.state.n, version = VERSION})\n"
	"end\n"
	"local function open(conn) conn:send('open v' .. VERSION) end\n"
	"sockets[1] = {path = '/count', open = open, message = message, close = close,\n"
	"  accept = function() return {channels = {'all'},\n"
	"    state = {n = 0, list = {1, 2}}} end}\n"
	"sockets[2] = {path = '/slow', open = open, message = message, close = close,\n"
	"  accept = function() task.sleep(0.05) return {channels = {'all'}} end}\n"
	"sockets[3] = {path = '/hang', accept = function() task.sleep(60) end}\n"
	"sockets[4] = {path = '/until/:at', open = open, message = message, close = "
	"close,\n"
	"  accept = function(req) task.sleep(0.02)\n"
	"    return {channels = {'all'}, expires_at = tonumber(req.path.at)} end}\n"
	"if VERSION == 1 then\n"
	"  sockets[5] = {path = '/old', open = open, message = message, close = close,\n"
	"    accept = function() return {channels = {'all'}} end}\n"
	"  sockets[6] = {path = '/late', open = open, message = message, close = close,\n"
	"    accept = function() task.sleep(0.05) return {channels = {'all'}} end}\n"
	"end\n"
	"return {name = 'test', sockets = sockets}\n";

#define GENERATIONS 64

/* The first one is the rig's, and has the port. */
static struct generation {
	struct rig rig;
	struct service *service;
	struct socket_server *sockets;
} generations[GENERATIONS];
static int made; /* the number of the newest */

static struct socket_server *server_of(int number)
{
	return generations[number].sockets;
}

static const char *source_of(int number)
{
	static char text[sizeof(source) + 32];

	snprintf(text, sizeof(text), "local VERSION = %d\n%s", number, source);
	return text;
}

static void make_generation(void)
{
	struct generation *one = &generations[++made];
	struct socket_server_config config = {
		.loop = rig.rig.loop,
		.hub = rig.hub,
		.task_timeout_ms = 5000,
		.message_size_max = 4096,
	};
	struct fault why;

	one->rig = rig.rig;
	rig_open(&one->rig, 8 << 20, service_rig_modules);
	one->service = service_rig_load(one->rig.vm, source_of(made), &why);
	if (!one->service)
		fail_msg("%s", why.detail);
	config.vm = one->rig.vm;
	config.service = one->service;
	one->sockets = socket_server_create(&config);
}

static void end_vm(int number)
{
	struct generation *one = &generations[number];

	vm_destroy(one->rig.vm);
	one->rig.vm = NULL;
	if (number == 1)
		rig.rig.vm = NULL;
}

/* The host's order. */
static void end_generation(int number)
{
	struct generation *one = &generations[number];

	end_vm(number);
	socket_server_destroy(one->sockets);
	one->sockets = NULL;
	if (number == 1) {
		rig.sockets = NULL;
		return;
	}
	service_destroy(one->service);
	one->service = NULL;
}

static void next_generation(void)
{
	make_generation();
	for (int i = 1; i < made; i++)
		if (server_of(i))
			socket_server_move(server_of(i), server_of(made));
}

static int open_rig(void **state)
{
	service_rig_open(&rig, &(struct service_rig_config){ .source = source_of(1) });
	made = 1;
	generations[1] = (struct generation){ rig.rig, rig.service, rig.sockets };
	return 0;
}

static int close_rig(void **state)
{
	http_server_destroy(rig.server);
	rig.server = NULL;
	for (int i = 1; i <= made; i++)
		if (server_of(i))
			end_generation(i);
	service_rig_close(&rig);
	buf_finish(&incoming);
	return 0;
}

static void turn_until_idle(int number)
{
	for (int turns = 0; turns < PATIENCE_TURNS; turns++) {
		if (socket_server_idle(server_of(number)))
			return;
		loop_turn(rig.rig.loop, 10);
	}
	fail_msg("generation %d does not become idle", number);
}

static void turn_until_tasks(int number, unsigned count)
{
	for (int turns = 0; turns < PATIENCE_TURNS; turns++) {
		if (task_count(generations[number].rig.vm) == count)
			return;
		loop_turn(rig.rig.loop, 10);
	}
	fail_msg("generation %d has other tasks", number);
}

/* --- claims ----------------------------------------------------------------------- */

static void a_connection_keeps_id_state_and_channels_in_its_new_generation(void **state)
{
	int fd = connect_to("/count");

	assert_hears_text(fd, "open v1");
	say_text(fd, "a");
	assert_hears_text(fd, "a 1 v1 all 1");
	next_generation();
	assert_true(socket_server_idle(server_of(1)));
	assert_false(socket_server_idle(server_of(2)));
	end_generation(1);
	say_text(fd, "b");
	assert_hears_text(fd, "b 2 v2 all 1");
	next_generation();
	end_generation(2);
	say_text(fd, "c");
	assert_hears_text(fd, "c 3 v3 all 1");
	socket_hub_broadcast(rig.hub, SLICE("all"), SLICE("to all"));
	assert_hears_text(fd, "to all");
	assert_int_equal(socket_hub_count(rig.hub), 1);
	say(fd, CLOSE, "\x03\xe9", 2);
	turn_until_idle(3);
	assert_contains(service_rig_log(&rig), "\"code\":1001");
	assert_contains(buf_text(&rig.log), "\"n\":3");
	assert_contains(buf_text(&rig.log), "\"version\":3");
	assert_lacks(buf_text(&rig.log), "warn");
	close(fd);
}

static void a_running_step_ends_where_it_began_and_what_waits_moves(void **state)
{
	int fd = connect_to("/count");

	assert_hears_text(fd, "open v1");
	say_text(fd, "slow");
	say_text(fd, "1");
	say_text(fd, "2");
	turn_until_tasks(1, 1);
	next_generation();
	assert_false(socket_server_idle(server_of(1)));
	assert_hears_text(fd, "slow 1 v1 all 1");
	assert_true(socket_server_idle(server_of(1)));
	end_generation(1);
	assert_hears_text(fd, "1 2 v2 all 1");
	assert_hears_text(fd, "2 3 v2 all 1");
	close(fd);
}

static void a_newer_target_replaces_the_one_that_was_waited_for(void **state)
{
	int fd = connect_to("/count");

	assert_hears_text(fd, "open v1");
	say_text(fd, "slow");
	turn_until_tasks(1, 1);
	next_generation();
	next_generation();
	end_generation(2);
	assert_hears_text(fd, "slow 1 v1 all 1");
	turn_until_idle(1);
	end_generation(1);
	say_text(fd, "a");
	assert_hears_text(fd, "a 2 v3 all 1");
	close(fd);
}

static void a_handshake_begun_in_the_old_generation_opens_in_the_new(void **state)
{
	int fd = service_rig_connect(&rig);
	const char *end;

	buf_reset(&incoming);
	ask(fd, "/slow");
	turn_until_tasks(1, 1);
	next_generation();
	assert_false(socket_server_idle(server_of(1)));
	while (!(end = strstr(buf_text(&incoming), "\r\n\r\n")))
		assert_true(receive(fd, incoming.size + 1));
	assert_contains(buf_text(&incoming), "HTTP/1.1 101 ");
	buf_consume(&incoming, (size_t)(end + 4 - incoming.at));
	assert_hears_text(fd, "open v2");
	turn_until_idle(1);
	end_generation(1);
	say_text(fd, "a");
	assert_hears_text(fd, "a 1 v2 all 1");
	close(fd);
}

static void a_path_that_is_gone_closes_its_connections_with_1012(void **state)
{
	int fd = connect_to("/old");

	assert_hears_text(fd, "open v1");
	say_text(fd, "slow");
	say_text(fd, "dropped");
	turn_until_tasks(1, 1);
	next_generation();
	assert_hears_text(fd, "slow 1 v1 all 1");
	assert_hears_close(fd, 1012);
	turn_until_idle(1);
	turn_until_idle(2);
	assert_int_equal(socket_hub_count(rig.hub), 0);
	assert_contains(service_rig_log(&rig), "\"message\":\"closed\"");
	assert_contains(buf_text(&rig.log), "\"code\":1012");
	assert_contains(buf_text(&rig.log), "\"version\":1");
	close(fd);
}

static void a_connection_without_a_path_does_not_hold_up_its_old_generation(void **state)
{
	int silent = connect_to("/old"), late;

	assert_hears_text(silent, "open v1");
	late = service_rig_connect(&rig);
	ask(late, "/late");
	turn_until_tasks(1, 1);
	next_generation();
	turn_until_idle(1); /* the clients have not answered the close frame */
	assert_int_equal(socket_hub_count(rig.hub), 2);
	end_generation(1);
	next_generation();
	turn_until_idle(2);
	end_generation(2);
	close(silent);
	close(late);
	turn_until_idle(3);
	/* Of the late one no function but accept has run. */
	assert_contains(service_rig_log(&rig), "\"message\":\"closed\"");
	assert_null(strstr(strstr(buf_text(&rig.log), "\"message\":\"closed\"") + 1,
			   "\"message\":\"closed\""));
}

static void a_state_that_json_cannot_say_is_empty_and_a_warning_says_so(void **state)
{
	int fd = connect_to("/count");

	assert_hears_text(fd, "open v1");
	say_text(fd, "odd");
	assert_hears_text(fd, "odd 1 v1 all 1");
	next_generation();
	end_generation(1);
	assert_contains(service_rig_log(&rig), "websocket state lost in the reload");
	assert_contains(buf_text(&rig.log), "\"route\":\"/count\"");
	assert_contains(buf_text(&rig.log), "JSON: a function");
	say_text(fd, "a");
	assert_hears_text(fd, "a 1 v2 all 1");
	close(fd);
}

static void an_old_script_still_reaches_a_connection_that_has_moved(void **state)
{
	int kept = connect_to("/count"), other;

	assert_hears_text(kept, "open v1");
	say_text(kept, "keep");
	assert_hears_text(kept, "keep 1 v1 all 1");
	other = connect_to("/count");
	assert_hears_text(other, "open v1");
	say_text(other, "kept");
	turn_until_tasks(1, 1);
	next_generation();
	assert_hears_text(kept, "kept 1");
	assert_hears_text(other, "kept 1 v1 all 2");
	turn_until_idle(1);
	close(kept);
	close(other);
}

static void the_end_of_a_busy_generation_closes_what_it_cuts_short(void **state)
{
	int fd = connect_to("/count"), old, asking;

	assert_hears_text(fd, "open v1");
	old = connect_to("/old");
	assert_hears_text(old, "open v1");
	say_text(fd, "hang");
	say_text(fd, "dropped");
	say_text(old, "hang");
	asking = service_rig_connect(&rig);
	ask(asking, "/hang");
	turn_until_tasks(1, 3);
	next_generation();
	end_generation(1);
	buf_reset(&incoming);
	assert_hears_close(fd, 1012);
	assert_hears_close(old, 1012);
	assert_contains(service_rig_answer(&rig, asking), "HTTP/1.1 503 ");
	turn_until_idle(2);
	assert_int_equal(socket_hub_count(rig.hub), 0);
	assert_contains(service_rig_log(&rig), "\"message\":\"closed\"");
	assert_contains(buf_text(&rig.log), "\"version\":2");
	assert_lacks(buf_text(&rig.log), "websocket handler failed");
	close(fd);
	close(old);
	close(asking);
}

static int fill(lua_State *L)
{
	lua_newuserdata(L, 9 << 20);
	luaL_ref(L, LUA_REGISTRYINDEX);
	return 0;
}

static void a_generation_without_memory_takes_no_connections(void **state)
{
	int fd = connect_to("/count");

	assert_hears_text(fd, "open v1");
	make_generation();
	vm_call(generations[2].rig.vm, fill, NULL, NULL);
	socket_server_move(server_of(1), server_of(2));
	assert_hears_close(fd, 1012);
	turn_until_idle(1);
	turn_until_idle(2);
	assert_contains(service_rig_log(&rig), "no memory left");
	assert_contains(buf_text(&rig.log), "\"version\":1");
	close(fd);
}

static void the_end_comes_in_the_middle_of_a_move(void **state)
{
	int idle = connect_to("/count"), busy, old;

	assert_hears_text(idle, "open v1");
	busy = connect_to("/count");
	assert_hears_text(busy, "open v1");
	old = connect_to("/old");
	assert_hears_text(old, "open v1");
	say_text(busy, "hang");
	say_text(old, "hang");
	turn_until_tasks(1, 2);
	next_generation();
	say_text(idle, "hang");
	turn_until_tasks(2, 1);
	next_generation();
	close_rig(state);
	close(idle);
	close(busy);
	close(old);
}

static void a_silent_connection_ends_at_its_time_in_a_later_generation(void **state)
{
	double at = seconds_now() + 0.3;
	int fd = connect_until(0.3);

	assert_hears_text(fd, "open v1");
	next_generation();
	end_generation(1);
	next_generation();
	end_generation(2);
	assert_expires(fd);
	assert_true(seconds_now() >= at);
	turn_until_idle(3);
	assert_contains(service_rig_log(&rig), "\"code\":4001");
	assert_contains(buf_text(&rig.log), "\"version\":3");
	close(fd);
}

static void the_time_comes_while_the_old_generation_is_busy_with_it(void **state)
{
	int fd = connect_until(0.2);

	assert_hears_text(fd, "open v1");
	say_text(fd, "hang");
	turn_until_tasks(1, 1);
	next_generation();
	assert_expires(fd);
	assert_false(socket_server_idle(server_of(1)));
	end_generation(1);
	turn_until_idle(2);
	assert_contains(service_rig_log(&rig), "\"code\":4001");
	assert_contains(buf_text(&rig.log), "\"version\":2");
	close(fd);
}

static void a_handshake_that_ends_in_the_next_generation_keeps_its_time(void **state)
{
	int fd = service_rig_connect(&rig);
	char path[64];
	const char *end;

	buf_reset(&incoming);
	snprintf(path, sizeof(path), "/until/%.3f", seconds_now() + 0.2);
	ask(fd, path);
	turn_until_tasks(1, 1);
	next_generation();
	while (!(end = strstr(buf_text(&incoming), "\r\n\r\n")))
		assert_true(receive(fd, incoming.size + 1));
	buf_consume(&incoming, (size_t)(end + 4 - incoming.at));
	assert_hears_text(fd, "open v2");
	assert_expires(fd);
	turn_until_idle(2);
	close(fd);
}

static void the_end_comes_before_the_time(void **state)
{
	int idle = connect_until(3600), busy;

	assert_hears_text(idle, "open v1");
	busy = connect_until(3600);
	assert_hears_text(busy, "open v1");
	say_text(busy, "hang");
	turn_until_tasks(1, 1);
	next_generation();
	close_rig(state);
	close(idle);
	close(busy);
}

/* --- many connections, many generations ------------------------------------------- */

#define CLIENTS 6

struct client {
	int fd;
	struct buf in;
	unsigned said;
	unsigned heard;
};

/* Takes what has come; each answer must carry the next number. */
static void hear(struct client *client)
{
	ssize_t got =
		recv(client->fd, buf_reserve(&client->in, 4096), 4096, MSG_DONTWAIT);

	assert_int_not_equal(got, 0);
	if (got > 0)
		client->in.size += (size_t)got;
	while (client->in.size >= 2 && client->in.size >= 2 + (size_t)client->in.at[1]) {
		char expected[32], text[128];
		size_t size = (size_t)client->in.at[1];

		memcpy(text, client->in.at + 2, size);
		text[size] = 0;
		client->heard++;
		snprintf(expected, sizeof(expected), " %u v", client->heard);
		assert_contains(text, expected);
		buf_consume(&client->in, 2 + size);
	}
}

static void end_idle_generations(void)
{
	for (int i = 1; i < made; i++)
		if (server_of(i) && socket_server_idle(server_of(i)) &&
		    task_count(generations[i].rig.vm) == 0)
			end_generation(i);
}

static void no_message_is_lost_or_out_of_order_over_fifty_generations(void **state)
{
	static const char *const texts[] = { "a", "slow", "b", "keep" };
	struct client clients[CLIENTS] = { 0 };
	struct random random;
	bool all = false;

	random_init(&random, 11);
	for (int i = 0; i < CLIENTS; i++) {
		clients[i].fd = connect_to("/count");
		assert_hears_text(clients[i].fd, "open v1");
	}
	for (int round = 0; round < 500; round++) {
		struct client *client = &clients[random_below(&random, CLIENTS)];

		if (client->said - client->heard < 20) {
			client->said++;
			say_text(client->fd, texts[random_below(&random, 4)]);
		}
		if (round % 10 == 5)
			next_generation();
		loop_turn(rig.rig.loop, 1);
		for (int i = 0; i < CLIENTS; i++)
			hear(&clients[i]);
		end_idle_generations();
	}
	for (int turns = 0; turns < PATIENCE_TURNS && !all; turns++) {
		loop_turn(rig.rig.loop, 10);
		all = true;
		for (int i = 0; i < CLIENTS; i++) {
			hear(&clients[i]);
			all = all && clients[i].heard == clients[i].said;
		}
	}
	assert_true(all);
	end_idle_generations();
	for (int i = 1; i < made; i++)
		assert_null(server_of(i));
	for (int i = 0; i < CLIENTS; i++) {
		close(clients[i].fd);
		buf_finish(&clients[i].in);
	}
}

int main(void)
{
#define CLAIM(name) cmocka_unit_test_setup_teardown(name, open_rig, close_rig)
	const struct CMUnitTest claims[] = {
		CLAIM(a_connection_keeps_id_state_and_channels_in_its_new_generation),
		CLAIM(a_running_step_ends_where_it_began_and_what_waits_moves),
		CLAIM(a_newer_target_replaces_the_one_that_was_waited_for),
		CLAIM(a_handshake_begun_in_the_old_generation_opens_in_the_new),
		CLAIM(a_path_that_is_gone_closes_its_connections_with_1012),
		CLAIM(a_connection_without_a_path_does_not_hold_up_its_old_generation),
		CLAIM(a_state_that_json_cannot_say_is_empty_and_a_warning_says_so),
		CLAIM(an_old_script_still_reaches_a_connection_that_has_moved),
		CLAIM(the_end_of_a_busy_generation_closes_what_it_cuts_short),
		CLAIM(a_generation_without_memory_takes_no_connections),
		cmocka_unit_test_setup(the_end_comes_in_the_middle_of_a_move, open_rig),
		CLAIM(a_silent_connection_ends_at_its_time_in_a_later_generation),
		CLAIM(the_time_comes_while_the_old_generation_is_busy_with_it),
		CLAIM(a_handshake_that_ends_in_the_next_generation_keeps_its_time),
		cmocka_unit_test_setup(the_end_comes_before_the_time, open_rig),
		CLAIM(no_message_is_lost_or_out_of_order_over_fifty_generations),
	};

	return cmocka_run_group_tests(claims, NULL, NULL);
}
