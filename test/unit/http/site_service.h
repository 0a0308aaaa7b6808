/* SPDX-License-Identifier: MIT */
/* site_service.h -- for tests: a service of a few paths.
 *
 *     /tell    what the handler saw         /hold   answered on release
 *     /refuse  a fault                      /later  answered after 3 ms
 *     /odd     headers it may not set       /large  8 MiB
 *     /empty   204                          others  "hello"
 */
#ifndef TEST_HTTP_SITE_SERVICE_H
#define TEST_HTTP_SITE_SERVICE_H

#include "site.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

struct held {
	struct held *next;
	struct service *service;
	struct http_request *request; /* NULL: gone */
	struct timer timer;
};

struct service {
	struct site site;
	struct held *held; /* on the server's thread */
	_Atomic int served;
	_Atomic int gone;
	_Atomic int refused; /* the last status */
};

static inline void on_gone(void *context)
{
	struct held *held = context;

	held->request = NULL;
	held->service->gone++;
}

static inline struct held *hold(struct service *service, struct http_request *request)
{
	struct held *held = mem_zeroed(1, sizeof(*held));

	held->service = service;
	held->request = request;
	held->next = service->held;
	service->held = held;
	http_request_on_gone(request, on_gone, held);
	return held;
}

static inline void answer_later(void *context)
{
	struct held *held = context;
	struct http_request *request = held->request;

	held->request = NULL;
	if (request)
		http_respond(request, 200, NULL, 0, SLICE("later"));
}

static inline void release(void *context)
{
	struct service *service = context;

	for (struct held *held = service->held; held; held = held->next)
		answer_later(held);
}

static inline void tell(struct http_request *request)
{
	struct buf text = { 0 };
	struct slice method = http_request_method(request),
		     path = http_request_path(request);
	struct slice query = http_request_query(request),
		     body = http_request_body(request);
	struct slice authority = http_request_authority(request);
	struct slice peer = http_request_peer(request);

	buf_printf(&text, "%.*s %.*s ?%.*s HTTP/%s host=%.*s peer=%.*s body=%.*s\n",
		   SLICE_PRINT(method), SLICE_PRINT(path), SLICE_PRINT(query),
		   http_request_protocol(request), SLICE_PRINT(authority),
		   SLICE_PRINT(peer), SLICE_PRINT(body));
	for (size_t i = 0; i < http_request_header_count(request); i++) {
		struct http_header header = http_request_header_at(request, i);

		buf_printf(&text, "%.*s=%.*s\n", SLICE_PRINT(header.name),
			   SLICE_PRINT(header.value));
		assert_true(http_request_header(request, header.name).at != NULL);
	}
	assert_null(http_request_header(request, SLICE("x-absent")).at);
	http_respond(request, 200, NULL, 0, buf_slice(&text));
	buf_finish(&text);
}

static inline void refuse(struct http_request *request)
{
	struct http_header header = { SLICE("X-More"), SLICE("yes") };
	struct fault why;

	fault_set(&why, FAULT_refused, "no \"thanks\"");
	http_respond_fault(request, &why, SLICE("4bf92f3577b34da6a3ce929d0e0e4736"),
			   &header, 1);
}

static inline void answer_oddly(struct http_request *request)
{
	const struct http_header headers[] = {
		{ SLICE("Content-Type"), SLICE("text/x-odd") },
		{ SLICE("X-Own"), SLICE("kept") },
		{ SLICE("Content-Length"), SLICE("7") },
		{ SLICE("connection"), SLICE("upgrade") },
		{ SLICE("Server"), SLICE("mine") },
		{ SLICE("x bad"), SLICE("bad-name") },
		{ SLICE("x-split"), SLICE("a\r\nset-cookie: b=c") },
		{ SLICE(""), SLICE("empty-name") },
	};

	http_respond(request, 299, headers, sizeof(headers) / sizeof(headers[0]),
		     SLICE("odd"));
}

static inline void serve(void *context, struct http_request *request)
{
	struct service *service = context;
	struct slice path = http_request_path(request);
	struct slice large;

	service->served++;
	if (slice_equal(path, SLICE("/hold"))) {
		hold(service, request);
	} else if (slice_equal(path, SLICE("/later"))) {
		struct held *held = hold(service, request);

		timer_start(service->site.loop, &held->timer,
			    mono_after_ms(loop_now(service->site.loop), 3), answer_later,
			    held);
	} else if (slice_equal(path, SLICE("/tell"))) {
		tell(request);
	} else if (slice_equal(path, SLICE("/refuse"))) {
		refuse(request);
	} else if (slice_equal(path, SLICE("/odd"))) {
		answer_oddly(request);
	} else if (slice_equal(path, SLICE("/empty"))) {
		http_respond(request, 204, NULL, 0, SLICE("never sent"));
	} else if (slice_equal(path, SLICE("/large"))) {
		large.size = 8 << 20;
		large.at = memset(arena_alloc(http_request_arena(request), large.size),
				  'x', large.size);
		http_respond(request, 200, NULL, 0, large);
	} else {
		http_respond(request, 200, NULL, 0, SLICE("hello"));
	}
}

static inline void on_refused(void *context, struct slice scheme, struct slice method,
			      const struct fault *why, char trace_id[33])
{
	((struct service *)context)->refused = fault_status(why);
}

static inline void service_open(struct service *service,
				const struct http_server_config *changes)
{
	struct http_server_config config = site_config(serve, service);

	if (changes) {
		config = *changes;
		config.handler = serve;
		config.context = service;
	}
	config.refused = on_refused;
	*service = (struct service){ 0 };
	site_open(&service->site, &config);
}

static inline void service_close(struct service *service)
{
	site_close(&service->site);
	while (service->held) {
		struct held *next = service->held->next;

		free(service->held);
		service->held = next;
	}
}

static inline char *ask(struct service *service, const char *request)
{
	int fd = client_connect(&service->site);
	char *answer;

	assert_true(client_send(fd, request));
	answer = client_read_answer(fd, strncmp(request, "HEAD", 4) == 0);
	close(fd);
	return answer;
}

#define assert_answers(service, request, ...)                                            \
	do {                                                                             \
		const char *wanted_[] = { __VA_ARGS__ };                                 \
		char *answer_ = ask(service, request);                                   \
		for (size_t i_ = 0; i_ < sizeof(wanted_) / sizeof(wanted_[0]); i_++)     \
			if (!answer_has(answer_, wanted_[i_]))                           \
				fail_msg("no '%s' in: %s", wanted_[i_],                  \
					 answer_ ? answer_ : "(nothing)");               \
		free(answer_);                                                           \
	} while (0)

static inline void set_reset_on_close(int fd)
{
	struct linger linger = { .l_onoff = 1 };

	setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
}

#endif
