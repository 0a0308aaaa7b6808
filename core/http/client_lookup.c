/* SPDX-License-Identifier: MIT */
/* client_lookup.c -- getaddrinfo, each on a thread of its own.
 *
 * getaddrinfo may sit for many seconds on a silent name server and cannot be interrupted,
 * so nobody ever waits for it: when the client ends first, thread and lookup are left
 * behind and the thread frees the lookup. One atomic step decides who comes first.
 *
 *     running --thread--> posting --> posted (freed on the loop)
 *     running --client ends--> abandoned (freed by the thread)
 */
#include "http/client_lookup.h"

#include "base/check.h"
#include "base/list.h"
#include "loop/loop.h"
#include "loop/worker.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#define RUNNING_MAX 4
#define QUEUE_MAX 64

enum { RUNNING, POSTING, POSTED, ABANDONED };

struct client_lookups {
	struct loop *loop;
	struct list queued, running;
	unsigned queued_count, running_count;
};

struct client_lookup {
	struct list member;
	struct client_lookups *lookups; /* NULL: they are gone */
	struct loop *loop;
	char *host;
	unsigned port;
	client_lookup_done_fn *done; /* NULL: forgotten */
	void *context;
	struct thread *thread;
	atomic_int state;
	struct mail mail;
	int error; /* of getaddrinfo */
	struct http_addresses addresses;
};

bool client_lookup_numeric(struct slice host, unsigned port,
			   struct http_addresses *addresses)
{
	struct http_address *address = &addresses->list[0];
	struct sockaddr_in *four = (struct sockaddr_in *)&address->at;
	struct sockaddr_in6 *six = (struct sockaddr_in6 *)&address->at;
	char text[INET6_ADDRSTRLEN];

	*addresses = (struct http_addresses){ 0 };
	if (host.size >= sizeof(text))
		return false;
	memcpy(text, host.at, host.size);
	text[host.size] = '\0';
	if (inet_pton(AF_INET, text, &four->sin_addr) == 1) {
		four->sin_family = AF_INET;
		four->sin_port = htons((uint16_t)port);
		address->size = sizeof(*four);
	} else if (inet_pton(AF_INET6, text, &six->sin6_addr) == 1) {
		six->sin6_family = AF_INET6;
		six->sin6_port = htons((uint16_t)port);
		address->size = sizeof(*six);
	} else {
		return false;
	}
	addresses->count = 1;
	return true;
}

struct client_lookups *client_lookups_create(struct loop *loop)
{
	struct client_lookups *lookups = mem_zeroed(1, sizeof(*lookups));

	lookups->loop = loop;
	list_init(&lookups->queued);
	list_init(&lookups->running);
	return lookups;
}

static void lookup_free(struct client_lookup *lookup)
{
	free(lookup->host);
	free(lookup);
}

void client_lookups_destroy(struct client_lookups *lookups)
{
	struct list *member;

	if (lookups == NULL)
		return;
	while ((member = list_take(&lookups->queued)))
		lookup_free(list_of(member, struct client_lookup, member));
	while ((member = list_take(&lookups->running))) {
		struct client_lookup *lookup =
			list_of(member, struct client_lookup, member);
		struct thread *thread = lookup->thread;
		int expected = RUNNING;

		lookup->lookups = NULL;
		lookup->done = NULL;
		if (atomic_compare_exchange_strong(&lookup->state, &expected,
						   ABANDONED)) {
			thread_forget(thread);
			continue;
		}
		/* The loop must not be destroyed while it is being posted to. */
		while (atomic_load(&lookup->state) != POSTED)
			sched_yield();
	}
	free(lookups);
}

static void resolve(struct client_lookup *lookup)
{
	struct addrinfo hints = { .ai_family = AF_UNSPEC,
				  .ai_socktype = SOCK_STREAM,
				  .ai_flags = AI_NUMERICSERV };
	struct addrinfo *list = NULL;
	struct http_addresses *into = &lookup->addresses;
	char port[12];

	snprintf(port, sizeof(port), "%u", lookup->port);
	lookup->error = getaddrinfo(lookup->host, port, &hints, &list);
	if (lookup->error != 0)
		return;
	for (struct addrinfo *at = list; at && into->count < HTTP_ADDRESSES_MAX;
	     at = at->ai_next) {
		if (at->ai_addrlen > sizeof(into->list[0].at))
			continue;
		memcpy(&into->list[into->count].at, at->ai_addr, at->ai_addrlen);
		into->list[into->count++].size = at->ai_addrlen;
	}
	freeaddrinfo(list);
}

static void on_resolved(void *context);

static void run(void *context)
{
	struct client_lookup *lookup = context;
	int expected = RUNNING;

	resolve(lookup);
	if (!atomic_compare_exchange_strong(&lookup->state, &expected, POSTING)) {
		lookup_free(lookup);
		return;
	}
	loop_post(lookup->loop, &lookup->mail, on_resolved, lookup);
	/* on_resolved joins this thread before it frees the lookup. */
	atomic_store(&lookup->state, POSTED);
}

static void start_queued(struct client_lookups *lookups)
{
	while (lookups->running_count < RUNNING_MAX && !list_empty(&lookups->queued)) {
		struct client_lookup *lookup = list_of(list_take(&lookups->queued),
						       struct client_lookup, member);

		lookups->queued_count--;
		lookups->running_count++;
		list_append(&lookups->running, &lookup->member);
		lookup->thread = thread_start("lookup", run, lookup);
	}
}

static void on_resolved(void *context)
{
	struct client_lookup *lookup = context;
	struct fault why;

	thread_join(lookup->thread);
	list_remove(&lookup->member);
	if (lookup->lookups) {
		lookup->lookups->running_count--;
		start_queued(lookup->lookups);
	}
	if (lookup->done && lookup->addresses.count > 0) {
		lookup->done(lookup->context, &lookup->addresses, NULL);
	} else if (lookup->done) {
		fault_set(&why, FAULT_unavailable, "the name %s has no address: %s",
			  lookup->host,
			  lookup->error ? gai_strerror(lookup->error) : "none is usable");
		lookup->done(lookup->context, NULL, &why);
	}
	lookup_free(lookup);
}

struct client_lookup *client_lookup_start(struct client_lookups *lookups,
					  struct slice host, unsigned port,
					  client_lookup_done_fn *done, void *context,
					  struct fault *why)
{
	struct client_lookup *lookup;

	if (lookups->queued_count == QUEUE_MAX) {
		fault_set(why, FAULT_unavailable, "too many names are being looked up");
		return NULL;
	}
	lookup = mem_zeroed(1, sizeof(*lookup));
	lookup->lookups = lookups;
	lookup->loop = lookups->loop;
	lookup->host = mem_copy(host.at, host.size);
	lookup->port = port;
	lookup->done = done;
	lookup->context = context;
	atomic_init(&lookup->state, RUNNING);
	list_append(&lookups->queued, &lookup->member);
	lookups->queued_count++;
	start_queued(lookups);
	return lookup;
}

void client_lookup_forget(struct client_lookup *lookup)
{
	if (lookup)
		lookup->done = NULL;
}
