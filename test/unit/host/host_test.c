/* SPDX-License-Identifier: MIT */
/* A host in a process of its own: this program, run again with the arguments of serve. */
#include "base/buf.h"
#include "base/check.h"
#include "host/command.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#define PATIENCE_MS 10000

const char *__lsan_default_suppressions(void);

const char *__lsan_default_suppressions(void)
{
	return "leak:h2o_mem_alloc_recycle\nleak:h2o_multithread_create_queue\n";
}

static const char service_source[] =
	"local task, conf, ws = require 'native.task', require 'native.conf', require "
	"'native.ws'\n"
	"local job = require 'native.job'\n"
	"local password, metrics = require 'native.password', require 'native.metrics'\n"
	"local swept = metrics.counter('swept_total', 'Runs of the job.')\n"
	"local function get(path, handler)\n"
	"  return {method = 'GET', path = path, handler = handler} end\n"
	"return {name = 'test', routes = {\n"
	"  get('/', function() return 200, {service = conf.get('service'),\n"
	"    up = conf.get('upstreams').users} end),\n"
	"  get('/nap', function() task.sleep(0.3) return 200, {rested = true} end),\n"
	"  get('/long', function() task.sleep(4) return 200, {} end),\n"
	"  get('/hash', function() return 200, password.hash('x') end),\n"
	"  get('/shout', function() for i = 1, 100 do ws.broadcast('all', 'x') end\n"
	"    job.wake('sweep') return 200 end),\n"
	"}, jobs = {{name = 'sweep', every_s = 3600, handler = function() swept:inc() "
	"end}},\n"
	"  sockets = {{path = '/ws', accept = function() return {channels = {'all'}} "
	"end}}}\n";

struct process {
	pid_t id;
	int out; /* of its standard output and error */
	unsigned port;
	struct buf text;
};

static char root[64];
static struct process host;
static struct buf answer;

/* --- the child --------------------------------------------------------------------- */

static void put_file(const char *name, const char *text)
{
	char path[128];
	FILE *file;

	snprintf(path, sizeof(path), "%s/%s", root, name);
	file = fopen(path, "w");
	assert_non_null(file);
	fputs(text, file);
	fclose(file);
}

static void start(const char *option, ...)
{
	char self[256], *args[16] = { self, NULL };
	size_t count = 1;
	int ends[2];
	va_list list;
	ssize_t size = readlink("/proc/self/exe", self, sizeof(self) - 1);

	assert_true(size > 0);
	self[size] = 0;
	va_start(list, option);
	for (const char *each = option; each && count < 15;
	     each = va_arg(list, const char *))
		args[count++] = (char *)(size_t)each;
	va_end(list);
	assert_int_equal(pipe(ends), 0);
	host = (struct process){ .id = fork(), .out = ends[0] };
	if (host.id == 0) {
		dup2(ends[1], STDOUT_FILENO);
		dup2(ends[1], STDERR_FILENO);
		close(ends[0]);
		close(ends[1]);
		execv(self, args);
		_exit(127);
	}
	close(ends[1]);
}

/* Reads what it says until that holds the text. False at its end. */
static bool hear(const char *text)
{
	struct pollfd wait = { .fd = host.out, .events = POLLIN };

	while (!text || !strstr(buf_text(&host.text), text)) {
		ssize_t got;

		if (poll(&wait, 1, PATIENCE_MS) != 1)
			fail_msg("it says no more than: %s", buf_text(&host.text));
		got = read(host.out, buf_reserve(&host.text, 4096), 4096);
		if (got <= 0)
			return false;
		host.text.size += (size_t)got;
	}
	return true;
}

static void start_and_wait(const char *option, const char *value)
{
	const char *port;

	start("service.lua", "--port", "0", option, value, NULL);
	if (!hear("\"workers\":"))
		fail_msg("it ended: %s", buf_text(&host.text));
	port = strstr(host.text.at, "\"port\":");
	assert_non_null(port);
	host.port = (unsigned)atoi(port + strlen("\"port\":"));
}

/* Its exit status, when it has ended and said all. */
static int end_of_host(void)
{
	int status;

	assert_false(hear(NULL));
	assert_int_equal(waitpid(host.id, &status, 0), host.id);
	host.id = 0;
	if (!WIFEXITED(status))
		fail_msg("it was ended by signal %d: %s", WTERMSIG(status),
			 buf_text(&host.text));
	return WEXITSTATUS(status);
}

static int setup(void **state)
{
	snprintf(root, sizeof(root), "/tmp/host_test_XXXXXX");
	assert_non_null(mkdtemp(root));
	assert_int_equal(chdir(root), 0);
	assert_int_equal(mkdir("lib", 0755), 0);
	put_file("lib/app.lua", "return {}");
	put_file("service.lua", service_source);
	return 0;
}

static int teardown(void **state)
{
	char command[128];

	if (host.id > 0) {
		kill(host.id, SIGKILL);
		waitpid(host.id, NULL, 0);
	}
	close(host.out);
	buf_finish(&host.text);
	buf_finish(&answer);
	snprintf(command, sizeof(command), "rm -rf %s", root);
	return system(command);
}

/* --- a client ---------------------------------------------------------------------- */

static int ask(const char *path)
{
	struct sockaddr_in at = {
		.sin_family = AF_INET,
		.sin_port = htons((uint16_t)host.port),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
	};
	struct timeval patience = { PATIENCE_MS / 1000, 0 };
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	char request[256];
	int size =
		snprintf(request, sizeof(request),
			 "GET %s HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", path);

	check(connect(fd, (struct sockaddr *)&at, sizeof(at)) == 0);
	check(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)) == 0);
	check(send(fd, request, (size_t)size, 0) == size);
	return fd;
}

/* Everything until the connection ends. */
static const char *read_answer(int fd)
{
	ssize_t got;

	buf_reset(&answer);
	while ((got = recv(fd, buf_reserve(&answer, 4096), 4096, 0)) > 0)
		answer.size += (size_t)got;
	close(fd);
	return buf_text(&answer);
}

static void assert_said(const char *text, const char *part)
{
	if (!text || !strstr(text, part))
		fail_msg("'%s' is not in: %s", part, text ? text : "nothing");
}

/* --- claims ------------------------------------------------------------------------ */

static void a_host_serves_until_it_is_told_to_end(void **state)
{
	setenv("ORRERY_UPSTREAM_USERS", "http://users", 1);
	start_and_wait(NULL, NULL);
	assert_said(read_answer(ask("/")), "\"up\":\"http://users\"}");
	assert_said(read_answer(ask("/health")), "{\"status\":\"ok\"}");
	assert_said(read_answer(ask("/ready")), "\"status\":\"ready\"");
	assert_said(read_answer(ask("/metrics")), "process_cpu_seconds_total");
	kill(host.id, SIGTERM);
	assert_int_equal(end_of_host(), EXIT_well);
	assert_said(buf_text(&host.text), "\"message\":\"draining\"");
}

static void requests_under_way_are_finished(void **state)
{
	int fd;

	start_and_wait("--workers", "2");
	fd = ask("/nap");
	read_answer(ask("/")); /* by now it is there */
	kill(host.id, SIGINT);
	assert_said(read_answer(fd), "{\"rested\":true}");
	assert_int_equal(end_of_host(), EXIT_well);
}

static void those_that_take_too_long_are_told_so(void **state)
{
	int fd;

	start_and_wait("--grace_ms", "100");
	fd = ask("/long");
	read_answer(ask("/"));
	kill(host.id, SIGTERM);
	assert_said(read_answer(fd), "HTTP/1.1 503 ");
	assert_int_equal(end_of_host(), EXIT_well);
	assert_said(buf_text(&host.text), "\"status\":499");
}

/* Mail between workers, hashing, a job that was woken: all still on their way. */
static void the_end_may_come_at_any_moment(void **state)
{
	for (int round = 0; round < 5; round++) {
		int fds[8];

		start_and_wait("--workers", "3");
		for (int i = 0; i < 8; i++)
			fds[i] = ask(i % 2 ? "/shout" : "/hash");
		kill(host.id, SIGTERM);
		for (int i = 0; i < 8; i++)
			read_answer(fds[i]);
		assert_int_equal(end_of_host(), EXIT_well);
		close(host.out);
		buf_finish(&host.text);
	}
	host.out = -1;
}

static void a_host_that_cannot_start_says_why(void **state)
{
	static const struct {
		const char *source;
		const char *part;
	} cases[] = {
		{ "return 1", "it must return the service" },
		{ "return {name = 'x', consumers = {{queue = 'q', bind = {},\n"
		  "  handler = pcall}}}",
		  "set amqp_url (ORRERY_AMQP_URL)" },
	};
	char port[8];

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		put_file("service.lua", cases[i].source);
		start("service.lua", "--port", "0", "--workers", "2", NULL);
		assert_int_equal(end_of_host(), EXIT_failed);
		assert_said(buf_text(&host.text), cases[i].part);
		close(host.out);
		buf_finish(&host.text);
	}
	put_file("service.lua", service_source);
	start_and_wait(NULL, NULL);
	snprintf(port, sizeof(port), "%u", host.port);
	{
		struct process first = host;

		start("service.lua", "--port", port, NULL);
		assert_int_equal(end_of_host(), EXIT_failed);
		assert_said(buf_text(&host.text), " is taken");
		close(host.out);
		buf_finish(&host.text);
		host = first;
	}
	kill(host.id, SIGTERM);
	assert_int_equal(end_of_host(), EXIT_well);
}

int main(int count, char **args)
{
#define CLAIM(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest claims[] = {
		CLAIM(a_host_serves_until_it_is_told_to_end),
		CLAIM(requests_under_way_are_finished),
		CLAIM(those_that_take_too_long_are_told_so),
		CLAIM(the_end_may_come_at_any_moment),
		CLAIM(a_host_that_cannot_start_says_why),
	};

	if (count > 1)
		return cmd_serve(args + 1, (size_t)count - 1);
	return cmocka_run_group_tests(claims, NULL, NULL);
}
