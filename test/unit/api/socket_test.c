/* SPDX-License-Identifier: MIT */
#include "socket_client.h"

#define BAD_UTF8 "\\255\\254"

static const char source[] =
	"local fault, task, log = require 'native.fault', require 'native.task',\n"
	"  require 'native.log'\n"
	"local function note(what, fields) log.info(what, fields) end\n"
	"local sockets = {}\n"
	"sockets[1] = {path = '/echo/:who',\n"
	"  accept = function(req)\n"
	"    return {channels = {'all', req.path.who}, state = {who = req.path.who}} "
	"end,\n"
	"  open = function(conn) conn:send('hello ' .. conn.state.who) end,\n"
	"  message = function(conn, text)\n"
	"    if text == 'slow' then task.sleep(0.05) end\n"
	"    if text == 'hang' then task.sleep(60) end\n"
	"    if text == 'fail' then error('on purpose') end\n"
	"    if text == 'table' then return conn:send({a = {1, 2}}) end\n"
	"    if text == 'bad' then\n"
	"      local ok = pcall(conn.send, conn, '" BAD_UTF8 "')\n"
	"      return conn:send(ok and 'sent' or 'refused') end\n"
	"    if text == 'bye' then return conn:close(4001) end\n"
	"    if text == 'odd' then\n"
	"      conn.id = -1; conn:close(); conn.id = 0/0; conn:send('lost')\n"
	"      conn.id = 'x'; conn:send('lost')\n"
	"      return conn:send(tostring(pcall(conn.close, conn, 1005))) end\n"
	"    conn:send(text)\n"
	"  end,\n"
	"  close = function(conn, code) note('closed', {code = code, who = "
	"conn.state.who})\n"
	"  end}\n"
	"sockets[2] = {path = '/denied',\n"
	"  accept = function() return fault.new('denied', 'not you') end}\n"
	"sockets[3] = {path = '/raised', accept = function() error('oops') end}\n"
	"sockets[4] = {path = '/forgot', accept = function() end}\n"
	"sockets[5] = {path = '/open'}\n"
	"sockets[6] = {path = '/slow', accept = function() task.sleep(0.05) return {} "
	"end}\n"
	"sockets[7] = {path = '/failing', accept = function() return {} end,\n"
	"  open = function() task.sleep(0.01) error('on purpose') end,\n"
	"  message = function() note('message') end,\n"
	"  close = function(_, code) note('closed', {code = code}) end}\n"
	"sockets[8] = {path = '/tricky', accept = function()\n"
	"  return setmetatable({}, {__index = function() error('metamethod') end}), "
	"'more' end,\n"
	"  open = function(conn) conn:send('in') end}\n"
	"sockets[9] = {path = '/until/:at', accept = function(req)\n"
	"  local at = req.path.at\n"
	"  return {expires_at = at == 'nan' and 0/0 or tonumber(at) or at, state = {}}\n"
	"  end,\n"
	"  message = sockets[1].message, close = sockets[1].close}\n"
	"return {name = 'test', sockets = sockets}\n";

static int open_rig(void **state)
{
	service_rig_open(&rig, &(struct service_rig_config){ .source = source });
	return 0;
}

static int close_rig(void **state)
{
	clock_set(NULL, NULL);
	service_rig_close(&rig);
	buf_finish(&incoming);
	return 0;
}

/* --- claims ----------------------------------------------------------------------- */

static bool nobody_is_there(struct service_rig *of)
{
	return socket_hub_count(of->hub) == 0 && task_count(of->rig.vm) == 0;
}

static void a_connection_opens_talks_and_closes(void **state)
{
	int fd = connect_to("/echo/ann");

	assert_hears_text(fd, "hello ann");
	say_text(fd, "one");
	assert_hears_text(fd, "one");
	say_text(fd, "");
	assert_hears_text(fd, "");
	say_text(fd, "table");
	assert_hears_text(fd, "{\"a\":[1,2]}");
	socket_hub_broadcast(rig.hub, SLICE("ann"), SLICE("to ann"));
	socket_hub_broadcast(rig.hub, SLICE("bob"), SLICE("to bob"));
	socket_hub_broadcast(rig.hub, SLICE("all"), SLICE("to all"));
	assert_hears_text(fd, "to ann");
	assert_hears_text(fd, "to all");
	say(fd, CLOSE, "\x03\xe9", 2);
	service_rig_turn_until(&rig, nobody_is_there);
	assert_contains(service_rig_log(&rig), "\"message\":\"closed\"");
	assert_contains(buf_text(&rig.log), "\"code\":1001");
	assert_contains(buf_text(&rig.log), "\"who\":\"ann\"");
	close(fd);
}

static void a_handshake_is_counted_once_and_logged(void **state)
{
	int fd = connect_to("/echo/ann");

	assert_contains(service_rig_log(&rig), "\"route\":\"/echo/:who\"");
	assert_contains(buf_text(&rig.log), "\"status\":101");
	assert_contains(service_rig_metrics(&rig),
			"endpoint=\"/echo/:who\",status=\"101\"} 1\n");
	close(fd);
}

static void accept_says_who_may_come_in(void **state)
{
	static const struct {
		const char *path;
		const char *answer;
	} refused[] = {
		{ "/denied", "HTTP/1.1 401 " },
		{ "/raised", "HTTP/1.1 500 " },
		{ "/forgot", "HTTP/1.1 500 " },
	};

	for (size_t i = 0; i < sizeof(refused) / sizeof(*refused); i++) {
		int fd = service_rig_connect(&rig);

		ask(fd, refused[i].path);
		assert_contains(service_rig_answer(&rig, fd), refused[i].answer);
		assert_contains(buf_text(&rig.text), "\"trace_id\":\"");
		close(fd);
	}
	assert_ask(&rig, "GET /denied HTTP/1.1\r\nHost: a\r\n\r\n", "HTTP/1.1 426 ");
	close(connect_to("/open"));
	service_rig_turn_until(&rig, nobody_is_there);
}

static void what_accept_returns_is_read_without_running_it(void **state)
{
	int fd = connect_to("/tricky");

	assert_hears_text(fd, "in");
	close(fd);
}

static void messages_are_handled_in_order_one_after_the_other(void **state)
{
	int fd = connect_to("/echo/ann");

	assert_hears_text(fd, "hello ann");
	say_text(fd, "slow");
	say_text(fd, "1");
	say_text(fd, "2");
	assert_hears_text(fd, "slow");
	assert_hears_text(fd, "1");
	assert_hears_text(fd, "2");
	close(fd);
}

static void more_messages_than_may_wait_close_the_connection(void **state)
{
	int fd = connect_to("/echo/ann");

	assert_hears_text(fd, "hello ann");
	say_text(fd, "slow");
	for (int i = 0; i < SOCKET_WAITING_MAX + 2; i++)
		say_text(fd, "x");
	while (receive(fd, 2) && (incoming.at[0] & 0x0f) == TEXT) {
		assert_true(receive(fd, 2 + (size_t)incoming.at[1]));
		buf_consume(&incoming, 2 + (size_t)incoming.at[1]);
	}
	assert_hears_close(fd, 1008);
	service_rig_turn_until(&rig, nobody_is_there);
	close(fd);
}

static void a_failing_handler_closes_its_connection(void **state)
{
	int fd = connect_to("/echo/ann");

	assert_hears_text(fd, "hello ann");
	say_text(fd, "fail");
	say_text(fd, "not heard");
	assert_hears_close(fd, 1011);
	service_rig_turn_until(&rig, nobody_is_there);
	assert_contains(service_rig_log(&rig),
			"\"message\":\"websocket handler failed\"");
	assert_contains(buf_text(&rig.log), "stack traceback:");
	assert_contains(buf_text(&rig.log), "\"message\":\"closed\"");
	close(fd);
}

static void messages_behind_a_failed_open_are_dropped(void **state)
{
	int fd = connect_to("/failing");

	say_text(fd, "too early");
	assert_hears_close(fd, 1011);
	service_rig_turn_until(&rig, nobody_is_there);
	assert_lacks(service_rig_log(&rig), "\"message\":\"message\"");
	assert_contains(buf_text(&rig.log), "\"message\":\"closed\"");
	close(fd);
}

static void scripts_close_with_codes_and_send_only_utf8(void **state)
{
	int fd = connect_to("/echo/ann");

	assert_hears_text(fd, "hello ann");
	say_text(fd, "bad");
	assert_hears_text(fd, "refused");
	say_text(fd, "bye");
	assert_hears_close(fd, 4001);
	service_rig_turn_until(&rig, nobody_is_there);
	close(fd);
}

static void a_forged_id_reaches_nobody(void **state)
{
	int fd = connect_to("/echo/ann");

	assert_hears_text(fd, "hello ann");
	say_text(fd, "odd");
	say(fd, CLOSE, "\x03\xe8", 2);
	assert_hears(fd, CLOSE, "\x03\xe8", 2);
	close(fd);
}

static bool one_runs(struct service_rig *of)
{
	return task_count(of->rig.vm) == 1;
}

static void a_client_may_leave_during_its_handshake(void **state)
{
	int fd = service_rig_connect(&rig);

	ask(fd, "/slow");
	service_rig_turn_until(&rig, one_runs);
	close(fd);
	service_rig_turn_until(&rig, nobody_is_there);
	assert_contains(service_rig_log(&rig), "\"status\":499");
}

static void the_end_comes_with_connections_in_every_state(void **state)
{
	int idle = connect_to("/echo/ann"), busy, asking;

	assert_hears_text(idle, "hello ann");
	busy = connect_to("/echo/bob");
	assert_hears_text(busy, "hello bob");
	say_text(busy, "slow");
	say_text(busy, "waits");
	asking = service_rig_connect(&rig);
	ask(asking, "/slow");
	loop_turn(rig.rig.loop, 10);
	loop_turn(rig.rig.loop, 10);
	assert_true(task_count(rig.rig.vm) >= 1);
	close_rig(state);
	close(idle);
	close(busy);
	close(asking);
}

static void a_connection_is_closed_at_its_time(void **state)
{
	double at = seconds_now() + 0.2;
	int fd = connect_until(0.2), endless = connect_to("/until/inf");

	say_text(endless, "a");
	assert_hears_text(endless, "a");
	assert_expires(fd);
	assert_true(seconds_now() >= at);
	say_text(endless, "b");
	assert_hears_text(endless, "b");
	close(endless);
	service_rig_turn_until(&rig, nobody_is_there);
	assert_contains(service_rig_log(&rig), "\"code\":4001");
	close(fd);
}

static void a_function_that_runs_does_not_put_the_time_off(void **state)
{
	int fd = connect_until(0.1);

	say_text(fd, "hang");
	service_rig_turn_until(&rig, one_runs);
	assert_expires(fd);
	assert_true(one_runs(&rig));
	close(fd);
}

static void one_whose_time_has_passed_hears_that_and_nothing_else(void **state)
{
	static const char *const paths[] = { "/until/0", "/until/-1e300", "/until/1e9" };

	for (size_t i = 0; i < sizeof(paths) / sizeof(*paths); i++) {
		int fd = connect_to(paths[i]);

		assert_expires(fd);
		service_rig_turn_until(&rig, nobody_is_there);
		close(fd);
	}
}

static void a_time_that_is_no_number_lets_nobody_in(void **state)
{
	static const char *const paths[] = { "/until/soon", "/until/nan" };

	for (size_t i = 0; i < sizeof(paths) / sizeof(*paths); i++) {
		int fd = service_rig_connect(&rig);

		ask(fd, paths[i]);
		assert_contains(service_rig_answer(&rig, fd), "HTTP/1.1 500 ");
		assert_contains(service_rig_log(&rig), "expires_at");
		close(fd);
	}
	assert_true(nobody_is_there(&rig));
}

/* Both clocks stand still, so many seconds from now, and what is due then is done. */
static void set_clocks(double mono_s, double wall_s)
{
	struct mono mono = mono_after_ms(clock_mono(), (int64_t)(mono_s * 1000));
	struct wall wall = { clock_wall().ns + (int64_t)(wall_s * 1e9) };

	clock_set(&mono, &wall);
	loop_turn(rig.rig.loop, 0);
	loop_turn(rig.rig.loop, 0);
}

/* Past pings, which time brings. */
static void assert_expires_after_pings(int fd)
{
	while (receive(fd, 2) && (incoming.at[0] & 0x0f) == PING)
		buf_consume(&incoming, 2);
	assert_expires(fd);
}

static void the_time_of_day_counts_even_if_it_is_set(void **state)
{
	int fd = connect_until(3600);

	set_clocks(59, 3599);
	assert_int_equal(socket_hub_count(rig.hub), 1);
	set_clocks(2, 2);
	assert_expires_after_pings(fd);
	close(fd);
	service_rig_turn_until(&rig, nobody_is_there);
	fd = connect_until(10);
	set_clocks(11, -1000);
	say_text(fd, "still");
	assert_hears_text(fd, "still");
	set_clocks(61, 1011);
	assert_expires_after_pings(fd);
	close(fd);
}

static void a_client_that_leaves_takes_its_time_along(void **state)
{
	size_t timers;

	close(connect_to("/until/inf"));
	service_rig_turn_until(&rig, nobody_is_there);
	timers = loop_timers(rig.rig.loop);
	close(connect_until(3600));
	service_rig_turn_until(&rig, nobody_is_there);
	assert_int_equal(loop_timers(rig.rig.loop), timers);
}

int main(void)
{
#define CLAIM(name) cmocka_unit_test_setup_teardown(name, open_rig, close_rig)
	const struct CMUnitTest claims[] = {
		CLAIM(a_connection_opens_talks_and_closes),
		CLAIM(a_handshake_is_counted_once_and_logged),
		CLAIM(accept_says_who_may_come_in),
		CLAIM(what_accept_returns_is_read_without_running_it),
		CLAIM(messages_are_handled_in_order_one_after_the_other),
		CLAIM(more_messages_than_may_wait_close_the_connection),
		CLAIM(a_failing_handler_closes_its_connection),
		CLAIM(messages_behind_a_failed_open_are_dropped),
		CLAIM(scripts_close_with_codes_and_send_only_utf8),
		CLAIM(a_forged_id_reaches_nobody),
		CLAIM(a_client_may_leave_during_its_handshake),
		CLAIM(a_connection_is_closed_at_its_time),
		CLAIM(a_function_that_runs_does_not_put_the_time_off),
		CLAIM(one_whose_time_has_passed_hears_that_and_nothing_else),
		CLAIM(a_time_that_is_no_number_lets_nobody_in),
		CLAIM(the_time_of_day_counts_even_if_it_is_set),
		CLAIM(a_client_that_leaves_takes_its_time_along),
		cmocka_unit_test_setup(the_end_comes_with_connections_in_every_state,
				       open_rig),
	};

	return cmocka_run_group_tests(claims, NULL, NULL);
}
