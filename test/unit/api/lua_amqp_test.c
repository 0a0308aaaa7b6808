/* SPDX-License-Identifier: MIT */
/* native.amqp without a broker: what it reads, and what a script gets when nobody
 * listens. */
#include "script_rig.h"

#include "store/amqp.h"

#include <arpa/inet.h>
#include <sys/socket.h>
#include <unistd.h>

static const struct rig_module modules[] = { { "native.amqp", api_open_amqp },
					     { NULL, NULL } };

/* A port that nobody listens on: bound, and given back only when the test is over. */
static int closed_port(int *fd)
{
	struct sockaddr_in address = { .sin_family = AF_INET };
	socklen_t size = sizeof address;

	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	*fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(*fd, (struct sockaddr *)&address, size), 0);
	assert_int_equal(getsockname(*fd, (struct sockaddr *)&address, &size), 0);
	return ntohs(address.sin_port);
}

#define SETUP "local amqp = require 'native.amqp' "

static void nobody_listening_is_a_reason_not_an_error(void **state)
{
	struct observer threads[2];
	struct amqp_config config = { .name = "test",
				      .waiting_max = 10,
				      .connect_timeout_ms = 1000,
				      .heartbeat_s = 10,
				      .delivery_limit = 3,
				      .publisher = &threads[0],
				      .consumer = &threads[1] };
	struct fault why;
	struct rig rig;
	char url[64];
	int fd;

	snprintf(url, sizeof url, "amqp://a:b@127.0.0.1:%d/x", closed_port(&fd));
	config.url = url;
	rig_init(&rig);
	for (unsigned i = 0; i < 2; i++)
		threads[i] = (struct observer){ log_create(rig.logs, 1 << 14),
						meter_create(rig.metrics), NULL };
	rig.api.amqp = amqp_create(&config, &why);
	assert_non_null(rig.api.amqp);
	rig_open(&rig, 16 << 20, modules);
	assert_run(&rig,
		   SETUP
		   "local ok, why = amqp.publish{routing_key = 'k', body = '{}', "
		   "headers = {a = 'b'}, message_id = '1'} return ok == nil, why.kind",
		   "true unavailable");
	assert_run(&rig, SETUP "local n, why = amqp.depth('q') return n == nil, why.kind",
		   "true unavailable");
	assert_contains(rig_run(&rig, SETUP "amqp.publish{body = 'x'}"),
			"'routing_key' is a nil, not a text");
	assert_contains(rig_run(&rig, SETUP "amqp.publish{routing_key = 'k', body = {}}"),
			"'body' is a table");
	assert_contains(rig_run(&rig, SETUP "amqp.publish{routing_key = 'k', body = '', "
					    "headers = {1}}"),
			"names and values of headers are texts");
	amqp_destroy(rig.api.amqp, 100);
	close(fd);
	rig_finish(&rig);
}

static void without_a_broker_the_setting_is_named(void **state)
{
	struct rig rig;

	rig_init(&rig);
	rig_open(&rig, 16 << 20, modules);
	assert_contains(rig_run(&rig, SETUP "amqp.publish{routing_key = 'k', body = ''}"),
			"set amqp_url");
	assert_contains(rig_run(&rig, SETUP "amqp.depth 'q'"), "set amqp_url");
	rig_finish(&rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nobody_listening_is_a_reason_not_an_error),
		cmocka_unit_test(without_a_broker_the_setting_is_named),
	};

	return cmocka_run_group_tests_name("lua_amqp", tests, NULL, NULL);
}
