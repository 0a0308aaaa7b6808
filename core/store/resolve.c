/* SPDX-License-Identifier: MIT */
/* resolve.c -- getaddrinfo on a helper thread. */
#include "store/resolve.h"

#include "base/buf.h"
#include "base/check.h"
#include "loop/loop.h"
#include "loop/worker.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/socket.h>

#define QUEUE_MAX 64

struct resolver {
	struct loop *loop;
	struct helper *helper;
	struct list asked; /* every struct resolve that was not answered */
};

struct resolve {
	struct list member; /* of resolver->asked; in none when the resolver is gone */
	resolve_done_fn *done; /* NULL: cancelled */
	void *context;
	struct deferred refused; /* the helper's queue was full */
	atomic_bool ran; /* work has begun: settled will be called */
	char *host;
	struct buf address; /* written by the helper thread until settled */
	int error;
};

struct resolver *resolver_create(struct loop *loop)
{
	struct resolver *resolver = mem_zeroed(1, sizeof(*resolver));

	resolver->loop = loop;
	list_init(&resolver->asked);
	return resolver;
}

static void resolve_free(struct resolve *resolve)
{
	list_remove(&resolve->member);
	loop_undefer(&resolve->refused);
	buf_finish(&resolve->address);
	free(resolve->host);
	free(resolve);
}

void resolver_destroy(struct resolver *resolver)
{
	struct list *member;

	if (!resolver)
		return;
	/* What has run is on its way back by mail and frees itself there; the rest never
	 * will. */
	helper_destroy(resolver->helper);
	while ((member = list_take(&resolver->asked))) {
		struct resolve *resolve = list_of(member, struct resolve, member);

		resolve->done = NULL;
		if (!atomic_load(&resolve->ran))
			resolve_free(resolve);
	}
	free(resolver);
}

bool resolve_numeric(const char *host)
{
	unsigned char address[sizeof(struct in6_addr)];

	return inet_pton(AF_INET, host, address) == 1 ||
	       inet_pton(AF_INET6, host, address) == 1 || strchr(host, '%') != NULL;
}

/* On the helper thread. */
static void look_up(void *context)
{
	struct resolve *resolve = context;
	struct addrinfo hints = { .ai_socktype = SOCK_STREAM, .ai_flags = AI_ADDRCONFIG };
	struct addrinfo *found = NULL;
	char text[INET6_ADDRSTRLEN + 16];

	atomic_store(&resolve->ran, true);
	resolve->error = getaddrinfo(resolve->host, NULL, &hints, &found);
	if (resolve->error)
		return;
	for (struct addrinfo *each = found; each; each = each->ai_next) {
		if (getnameinfo(each->ai_addr, each->ai_addrlen, text, sizeof(text), NULL,
				0, NI_NUMERICHOST) != 0)
			continue;
		if (resolve->address.size > 0)
			buf_append_byte(&resolve->address, ',');
		buf_append(&resolve->address, slice_text(text));
	}
	freeaddrinfo(found);
}

/* Back on the loop. */
static void settled(void *context)
{
	struct resolve *resolve = context;
	resolve_done_fn *done = resolve->done;
	struct fault why;

	if (done && resolve->address.size > 0) {
		done(resolve->context, buf_text(&resolve->address), NULL);
	} else if (done) {
		fault_set(&why, FAULT_unavailable, "%.80s: %s", resolve->host,
			  resolve->error ? gai_strerror(resolve->error) : "no address");
		done(resolve->context, NULL, &why);
	}
	resolve_free(resolve);
}

struct resolve *resolve_start(struct resolver *resolver, const char *host,
			      resolve_done_fn *done, void *context)
{
	struct resolve *resolve = mem_zeroed(1, sizeof(*resolve));

	resolve->done = done;
	resolve->context = context;
	resolve->host = mem_copy(host, strlen(host));
	resolve->error = EAI_AGAIN;
	list_init(&resolve->refused.member);
	list_append(&resolver->asked, &resolve->member);
	if (!resolver->helper)
		resolver->helper = helper_create(1, QUEUE_MAX);
	if (!helper_submit(resolver->helper, resolver->loop, look_up, settled, resolve,
			   NULL))
		loop_defer(resolver->loop, &resolve->refused, settled, resolve);
	return resolve;
}

void resolve_cancel(struct resolve *resolve)
{
	if (resolve)
		resolve->done = NULL;
}
