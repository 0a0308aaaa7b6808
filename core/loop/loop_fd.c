/* SPDX-License-Identifier: MIT */
/* A descriptor of another library as an h2o socket that neither reads nor writes.
 *
 * h2o closes the descriptor of a socket itself: therefore the duplicate. Its notification
 * of writability fires once and asserts when it is armed twice: therefore `armed`. It
 * cannot be taken back: one that comes when writing is no longer wanted is swallowed. */
#include "loop/loop_fd.h"
#include "base/check.h"
#include "loop/loop.h"

#include <h2o.h>

#include <fcntl.h>
#include <stdlib.h>

struct loop_fd {
	struct loop *loop;
	h2o_socket_t *socket;
	loop_fd_fn *ready;
	void *context;
	bool reading;
	bool want_write;
	bool armed;
};

static void loop_fd_readable(h2o_socket_t *socket, const char *err)
{
	struct loop_fd *watch = socket->data;
	struct loop *loop = watch->loop;

	watch->ready(watch->context, true, false);
	loop_settle(loop); /* the watch may be gone */
}

static void loop_fd_arm(struct loop_fd *watch);

static void loop_fd_writable(h2o_socket_t *socket, const char *err)
{
	struct loop_fd *watch = socket->data;
	struct loop *loop = watch->loop;

	watch->armed = false;
	if (!watch->want_write)
		return;
	/* Armed again before the call: the watch may be gone after it. */
	loop_fd_arm(watch);
	watch->ready(watch->context, false, true);
	loop_settle(loop);
}

static void loop_fd_arm(struct loop_fd *watch)
{
	if (watch->armed)
		return;
	watch->armed = true;
	h2o_socket_notify_write(watch->socket, loop_fd_writable);
}

struct loop_fd *loop_fd_create(struct loop *loop, int fd, loop_fd_fn *ready,
			       void *context)
{
	struct loop_fd *watch = mem_zeroed(1, sizeof(*watch));
	int copy = fcntl(fd, F_DUPFD_CLOEXEC, 3);

	check(copy >= 0);
	watch->loop = loop;
	watch->ready = ready;
	watch->context = context;
	watch->socket =
		h2o_evloop_socket_create(loop_h2o(loop), copy, H2O_SOCKET_FLAG_DONT_READ);
	watch->socket->data = watch;
	loop_count_fd(loop, 1);
	return watch;
}

void loop_fd_want(struct loop_fd *watch, bool read, bool write)
{
	if (read && !watch->reading)
		h2o_socket_read_start(watch->socket, loop_fd_readable);
	else if (!read && watch->reading)
		h2o_socket_read_stop(watch->socket);
	watch->reading = read;
	watch->want_write = write;
	if (write)
		loop_fd_arm(watch);
}

void loop_fd_destroy(struct loop_fd *watch)
{
	if (!watch)
		return;
	loop_count_fd(watch->loop, -1);
	h2o_socket_close(watch->socket);
	free(watch);
}
