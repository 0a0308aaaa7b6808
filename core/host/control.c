/* SPDX-License-Identifier: MIT */
#include "host/control.h"

#include "base/check.h"
#include "loop/loop.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define PREFIX "orrery/"
#define ANSWER_MAX (64u << 10)
#define PROCESSES_MAX 256 /* of one service, that a command asks */
#define ANSWER_WELL "ok "
#define ANSWER_FAILED "failed "

struct control {
	struct loop *loop;
	int fd; /* -1: no socket could be had; reload by signal still works */
	struct loop_fd *watch;
	void (*asked)(void *context);
	void *context;
	int waiting[CONTROL_WAITING_MAX]; /* peers to answer, the earliest first */
	size_t waiting_count;
	size_t begun; /* of them, those that the attempt under way is for */
};

/* --- names ------------------------------------------------------------------------ */

/* An abstract address: a NUL, then the name. A path too long for it keeps its end. */
static socklen_t make_address(struct sockaddr_un *address, const char *service_file,
			      long pid)
{
	char name[sizeof(address->sun_path) - 1];
	size_t room = sizeof(name) - sizeof(PREFIX) - 24, size = strlen(service_file);
	int used;

	if (size > room)
		service_file += size - room;
	used = snprintf(name, sizeof(name), PREFIX "%s/%ld", service_file, pid);
	*address = (struct sockaddr_un){ .sun_family = AF_UNIX };
	memcpy(address->sun_path + 1, name, (size_t)used);
	return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)used);
}

/* --- the service's side ----------------------------------------------------------- */

static bool is_allowed(int fd)
{
	struct ucred peer;
	socklen_t size = sizeof(peer);

	return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0 &&
	       (peer.uid == 0 || peer.uid == geteuid());
}

/* Packets arrive whole: one read says all. A peer that connects sends at once. */
static bool asks_for_reload(int fd)
{
	struct pollfd ready = { .fd = fd, .events = POLLIN };
	char word[16];

	return poll(&ready, 1, 100) == 1 && recv(fd, word, sizeof(word), 0) == 6 &&
	       memcmp(word, "reload", 6) == 0;
}

static void on_peer(void *context, bool readable, bool writable)
{
	struct control *control = context;
	int fd = accept4(control->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	if (fd < 0)
		return;
	if (control->waiting_count == CONTROL_WAITING_MAX || !is_allowed(fd) ||
	    !asks_for_reload(fd)) {
		close(fd);
		return;
	}
	control->waiting[control->waiting_count++] = fd;
	control->asked(control->context);
}

void control_begin(struct control *control)
{
	if (control)
		control->begun = control->waiting_count;
}

void control_answer(struct control *control, bool well, struct slice text)
{
	struct buf answer = { 0 };

	if (!control || !control->begun)
		return;
	buf_append(&answer, well ? SLICE(ANSWER_WELL) : SLICE(ANSWER_FAILED));
	buf_append(&answer, text);
	if (answer.size > ANSWER_MAX)
		answer.size = ANSWER_MAX;
	for (size_t i = 0; i < control->begun; i++) {
		/* A peer that left, or does not read, has no answer. */
		send(control->waiting[i], answer.at, answer.size, MSG_NOSIGNAL);
		close(control->waiting[i]);
	}
	control->waiting_count -= control->begun;
	memmove(control->waiting, control->waiting + control->begun,
		control->waiting_count * sizeof(control->waiting[0]));
	control->begun = 0;
	buf_finish(&answer);
}

struct control *control_create(struct loop *loop, const char *service_file,
			       void (*asked)(void *context), void *context)
{
	struct control *control = mem_zeroed(1, sizeof(*control));
	struct sockaddr_un address;
	socklen_t size = make_address(&address, service_file, (long)getpid());

	control->loop = loop;
	control->asked = asked;
	control->context = context;
	control->fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (control->fd >= 0 &&
	    (bind(control->fd, (struct sockaddr *)&address, size) != 0 ||
	     listen(control->fd, CONTROL_WAITING_MAX) != 0)) {
		close(control->fd);
		control->fd = -1;
	}
	if (control->fd >= 0) {
		control->watch = loop_fd_create(loop, control->fd, on_peer, control);
		loop_fd_want(control->watch, true, false);
	}
	return control;
}

void control_destroy(struct control *control)
{
	if (!control)
		return;
	control_begin(control);
	control_answer(control, false, SLICE("the service is ending"));
	loop_fd_destroy(control->watch);
	if (control->fd >= 0)
		close(control->fd);
	free(control);
}

/* --- the command's side ----------------------------------------------------------- */

/* Connects and waits for the answer; false when nobody is there. */
static bool ask(const struct sockaddr_un *address, socklen_t size, int timeout_ms,
		struct buf *answer)
{
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	struct pollfd ready = { .fd = fd, .events = POLLIN };
	ssize_t got = -1;

	if (fd < 0)
		return false;
	if (connect(fd, (const struct sockaddr *)address, size) == 0 &&
	    send(fd, "reload", 6, MSG_NOSIGNAL) == 6) {
		if (poll(&ready, 1, timeout_ms) == 1)
			got = recv(fd, buf_reserve(answer, ANSWER_MAX), ANSWER_MAX, 0);
		if (got > 0)
			answer->size += (size_t)got;
		else
			buf_append(answer, SLICE(ANSWER_FAILED "no answer"));
		close(fd);
		return true;
	}
	close(fd);
	return false;
}

/* The pid at the end of an abstract name in /proc/net/unix, when it is of this service.
 */
static bool pid_of_line(const char *line, const char *service_file, long *pid)
{
	const char *name = strstr(line, "@" PREFIX);
	const char *slash = name ? strrchr(name, '/') : NULL;
	struct sockaddr_un address;
	socklen_t size;
	size_t length;

	if (!slash)
		return false;
	*pid = strtol(slash + 1, NULL, 10);
	size = make_address(&address, service_file, *pid);
	length = size - offsetof(struct sockaddr_un, sun_path) - 1;
	return strncmp(name + 1, address.sun_path + 1, length) == 0 &&
	       (name[1 + length] == '\n' || name[1 + length] == 0);
}

static bool ask_one(const char *service_file, long pid, int timeout_ms, struct buf *out,
		    bool *failed)
{
	struct sockaddr_un address;
	socklen_t size = make_address(&address, service_file, pid);
	struct buf answer = { 0 };
	struct slice text;

	if (!ask(&address, size, timeout_ms, &answer)) {
		buf_finish(&answer);
		return false;
	}
	text = buf_slice(&answer);
	*failed = !slice_starts_with(text, SLICE(ANSWER_WELL));
	slice_cut(&text, ' ', &(struct slice){ 0 });
	buf_printf(out, "process %ld: %s%.*s\n", pid, *failed ? "not reloaded: " : "",
		   SLICE_PRINT(text));
	buf_finish(&answer);
	return true;
}

/* Ascending, each once: accepted connections have the listener's name, too. */
static size_t find_pids(const char *service_file, long *pids, size_t most)
{
	FILE *sockets = fopen("/proc/net/unix", "r");
	size_t count = 0;
	char line[512];
	long pid;

	while (sockets && fgets(line, sizeof(line), sockets)) {
		size_t at = 0;

		if (count == most || !pid_of_line(line, service_file, &pid))
			continue;
		while (at < count && pids[at] < pid)
			at++;
		if (at < count && pids[at] == pid)
			continue;
		memmove(pids + at + 1, pids + at, (count - at) * sizeof(*pids));
		pids[at] = pid;
		count++;
	}
	if (sockets)
		fclose(sockets);
	return count;
}

size_t control_reload(const char *service_file, long pid, int timeout_ms, struct buf *out,
		      size_t *failed)
{
	long pids[PROCESSES_MAX] = { pid };
	size_t found = pid ? 1 : find_pids(service_file, pids, PROCESSES_MAX);
	size_t count = 0;

	*failed = 0;
	for (size_t i = 0; i < found; i++) {
		bool one_failed = false;

		if (!ask_one(service_file, pids[i], timeout_ms, out, &one_failed))
			continue;
		count++;
		*failed += one_failed;
	}
	return count;
}
