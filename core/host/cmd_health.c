/* SPDX-License-Identifier: MIT */
/* cmd_health.c -- orrery health [SERVICE|URL]: asks a process whether it is ready.
 *
 * For supervisors and container engines, which want an exit status and have no HTTP
 * client at hand. One request, one deadline for all of it.
 */
#include "host/command.h"

#include "base/buf.h"
#include "base/clock.h"
#include "host/conf.h"
#include "http/http_url.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define TIMEOUT_MS 3000
#define ANSWER_SIZE_MAX 65536u
#define PATH "/ready"

/* False with why (timeout) when the deadline passes first. */
static bool wait_for(int fd, short events, struct mono deadline, struct fault *why)
{
	struct pollfd one = { .fd = fd, .events = events };
	int ready;

	do
		ready = poll(&one, 1, mono_left_ms(clock_mono(), deadline));
	while (ready < 0 && errno == EINTR);
	return ready > 0 ||
	       fault_set(why, FAULT_timeout, "no answer in %d ms", TIMEOUT_MS);
}

static int try_address(const struct addrinfo *address, struct mono deadline,
		       struct fault *why)
{
	int fd =
		socket(address->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	int error = 0;
	socklen_t size = sizeof(error);

	if (fd < 0 || (connect(fd, address->ai_addr, address->ai_addrlen) != 0 &&
		       errno != EINPROGRESS))
		error = errno;
	else if (!wait_for(fd, POLLOUT, deadline, why))
		error = ETIMEDOUT;
	else
		getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size);
	if (!error)
		return fd;
	if (fd >= 0)
		close(fd);
	fault_set(why, error == ETIMEDOUT ? FAULT_timeout : FAULT_unavailable, "%s",
		  strerror(error));
	return -1;
}

/* A lookup cannot be given a deadline, so its end is the end of the process. */
static void on_alarm(int signal_number)
{
	static const char words[] = "orrery health: the name was not found in time\n";
	ssize_t ignored = write(STDERR_FILENO, words, sizeof(words) - 1);

	(void)ignored;
	_exit(EXIT_failed);
}

/* -1 with why. */
static int open_connection(const struct http_url *url, struct mono deadline,
			   struct fault *why)
{
	struct addrinfo hints = { .ai_socktype = SOCK_STREAM }, *list = NULL;
	char host[256], port[16];
	int fd = -1, error;

	snprintf(host, sizeof(host), "%.*s", SLICE_PRINT(url->host));
	snprintf(port, sizeof(port), "%u", url->port);
	signal(SIGALRM, on_alarm);
	alarm(TIMEOUT_MS / 1000);
	error = getaddrinfo(host, port, &hints, &list);
	alarm(0);
	if (error) {
		fault_set(why, FAULT_unavailable, "%s", gai_strerror(error));
		return -1;
	}
	for (struct addrinfo *at = list; at && fd < 0; at = at->ai_next)
		fd = try_address(at, deadline, why);
	freeaddrinfo(list);
	return fd;
}

static bool send_all(int fd, struct slice rest, struct mono deadline, struct fault *why)
{
	while (rest.size > 0) {
		ssize_t sent = send(fd, rest.at, rest.size, MSG_NOSIGNAL);

		if (sent < 0 && errno != EAGAIN && errno != EINTR)
			return fault_set(why, FAULT_broken, "%s", strerror(errno));
		if (sent > 0)
			rest = slice_of(rest.at + sent, rest.size - (size_t)sent);
		else if (!wait_for(fd, POLLOUT, deadline, why))
			return false;
	}
	return true;
}

/* Until the other side closes; what is beyond ANSWER_SIZE_MAX is not read. */
static bool receive_all(int fd, struct buf *answer, struct mono deadline,
			struct fault *why)
{
	while (answer->size < ANSWER_SIZE_MAX) {
		ssize_t got = recv(fd, buf_reserve(answer, 4096), 4096, 0);

		if (got == 0)
			break;
		if (got < 0 && errno != EAGAIN && errno != EINTR)
			return fault_set(why, FAULT_broken, "%s", strerror(errno));
		if (got > 0)
			answer->size += (size_t)got;
		else if (!wait_for(fd, POLLIN, deadline, why))
			return false;
	}
	return true;
}

/* The status, and the body in *body, which borrows answer; 0: that is no HTTP. */
static unsigned read_answer(struct slice answer, struct slice *body)
{
	const char *end =
		answer.size ? memmem(answer.at, answer.size, "\r\n\r\n", 4) : NULL;
	struct slice word;
	unsigned long long status;

	if (!end || !slice_starts_with(answer, SLICE("HTTP/1.")))
		return 0;
	*body = slice_of(end + 4, answer.size - (size_t)(end + 4 - answer.at));
	if (!slice_cut(&answer, ' ', &word) || !slice_cut(&answer, ' ', &word) ||
	    word.size != 3 || !slice_to_uint(word, &status))
		return 0;
	return (unsigned)status;
}

static bool ask(const struct http_url *url, struct buf *answer, struct fault *why)
{
	struct mono deadline = mono_after_ms(clock_mono(), TIMEOUT_MS);
	struct buf request = { 0 };
	int fd = open_connection(url, deadline, why);
	bool well = fd >= 0;

	buf_printf(&request,
		   "GET %s%.*s HTTP/1.1\r\nHost: %.*s\r\nUser-Agent: orrery-health\r\n"
		   "Connection: close\r\n\r\n",
		   url->path_missing ? "/" : "", SLICE_PRINT(url->target),
		   SLICE_PRINT(url->authority));
	well = well && send_all(fd, buf_slice(&request), deadline, why) &&
	       receive_all(fd, answer, deadline, why);
	if (fd >= 0)
		close(fd);
	buf_finish(&request);
	return well;
}

static int tell(const struct http_url *url)
{
	struct slice body = { 0 };
	struct buf answer = { 0 };
	struct fault why;
	unsigned status = 0;

	if (!ask(url, &answer, &why)) {
		fprintf(stderr, "orrery health: %.*s: %s\n", SLICE_PRINT(url->authority),
			why.detail);
	} else if ((status = read_answer(buf_slice(&answer), &body)) == 0) {
		fprintf(stderr, "orrery health: %.*s: that is not HTTP\n",
			SLICE_PRINT(url->authority));
	} else {
		body = slice_trim(body);
		fprintf(status / 100 == 2 ? stdout : stderr, "%u %.*s\n", status,
			SLICE_PRINT(body));
	}
	buf_finish(&answer);
	return status / 100 == 2 ? EXIT_well : EXIT_failed;
}

/* Where a process with these settings answers, seen from this machine. */
static void ready_url(const struct conf *conf, struct buf *url)
{
	struct slice host = slice_text(conf->host);
	unsigned port = conf->admin_port ? conf->admin_port : conf->port;
	bool brackets;

	if (conf->admin_port && *conf->admin_host)
		host = slice_text(conf->admin_host);
	if (slice_equal(host, SLICE("0.0.0.0")) || host.size == 0)
		host = SLICE("127.0.0.1");
	else if (slice_equal(host, SLICE("::")))
		host = SLICE("::1");
	brackets = memchr(host.at, ':', host.size) != NULL;
	buf_printf(url, "http://%s%.*s%s:%u" PATH, brackets ? "[" : "", SLICE_PRINT(host),
		   brackets ? "]" : "", port);
}

int cmd_health(char *const *args, size_t count)
{
	struct command_arguments taken;
	struct buf text = { 0 };
	struct conf conf = { 0 };
	struct http_url url;
	struct fault why;
	bool is_url, well;
	int status = EXIT_usage;

	if (!command_take_arguments("health", args, count, NULL, &taken)) {
		command_drop_arguments(&taken);
		return EXIT_usage;
	}
	is_url = taken.count > 0 && strstr(taken.words[0], "://");
	if (is_url)
		buf_printf(&text, "%s", taken.words[0]);
	well = taken.count <= 1 ||
	       fault_set(&why, FAULT_bad_input, "one service, or one URL");
	if (well && !is_url) {
		well = conf_load(&conf, taken.count ? taken.words[0] : NULL, NULL, 0,
				 &why);
		if (well && *conf.tls_certificate && !conf.admin_port)
			well = fault_set(&why, FAULT_bad_input,
					 "it speaks TLS and has no admin_port to ask at");
		if (well)
			ready_url(&conf, &text);
	}
	if (well && http_url_parse(buf_slice(&text), &url, &why))
		status = tell(&url);
	else
		command_refuse("health", why.detail);
	conf_finish(&conf);
	buf_finish(&text);
	command_drop_arguments(&taken);
	return status;
}
