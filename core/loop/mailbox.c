/* SPDX-License-Identifier: MIT */
#include "loop/mailbox.h"
#include "base/check.h"

#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

struct mailbox {
	pthread_mutex_t lock;
	struct list messages; /* under lock */
	int fd;
};

struct mailbox *mailbox_create(void)
{
	struct mailbox *mailbox = mem_zeroed(1, sizeof(*mailbox));

	mailbox->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	check(mailbox->fd >= 0);
	check(pthread_mutex_init(&mailbox->lock, NULL) == 0);
	list_init(&mailbox->messages);
	return mailbox;
}

void mailbox_destroy(struct mailbox *mailbox)
{
	if (!mailbox)
		return;
	/* Waits for a sender that is on its way out. */
	pthread_mutex_lock(&mailbox->lock);
	pthread_mutex_unlock(&mailbox->lock);
	pthread_mutex_destroy(&mailbox->lock);
	close(mailbox->fd);
	free(mailbox);
}

/* The descriptor is written under the lock: the receiver cannot have the message, and so
 * cannot decide to destroy the mailbox, before the sender is done with it. */
void mailbox_send(struct mailbox *mailbox, struct list *message)
{
	pthread_mutex_lock(&mailbox->lock);
	if (list_empty(&mailbox->messages))
		mailbox_wake(mailbox);
	list_append(&mailbox->messages, message);
	pthread_mutex_unlock(&mailbox->lock);
}

void mailbox_wake(struct mailbox *mailbox)
{
	uint64_t one = 1;
	ssize_t written = write(mailbox->fd, &one, sizeof(one));

	(void)written; /* EAGAIN: the counter is full, the receiver is awake */
}

int mailbox_fd(const struct mailbox *mailbox)
{
	return mailbox->fd;
}

/* Clears first and takes then: what is sent in between is taken now and wakes once too
 * often. */
void mailbox_take(struct mailbox *mailbox, struct list *into)
{
	uint64_t count;
	ssize_t got = read(mailbox->fd, &count, sizeof(count));
	struct list *message;

	(void)got;
	pthread_mutex_lock(&mailbox->lock);
	while ((message = list_take(&mailbox->messages)))
		list_append(into, message);
	pthread_mutex_unlock(&mailbox->lock);
}
