/* SPDX-License-Identifier: MIT */
/* A random walk: whatever the collector does, each span ends up sent or counted as
 * dropped. */
#include "host/export_send.h"

#include "../http/test_server.h"
#include "base/check.h"
#include "base/random.h"
#include "http/client.h"
#include "watch/log.h"
#include "watch/metrics.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

static const char *const answers[] = {
	"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
	"HTTP/1.1 204 No Content\r\n\r\n",
	"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n\x0a\x02\x08\x02",
	"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\nrubbish",
	"HTTP/1.1 400 No\r\nContent-Length: 0\r\n\r\n",
	"HTTP/1.1 429 No\r\nRetry-After: 0\r\nContent-Length: 0\r\n\r\n",
	"HTTP/1.1 503 No\r\nRetry-After: Wed, 21 Oct 2015 07:28:00 "
	"GMT\r\nContent-Length: 0\r\n\r\n",
	"HTTP/1.1 503 No\r\nRetry-After: soon\r\nContent-Length: 0\r\n\r\n",
	"HTTP/1.1 504 No\r\nContent-Length: 0\r\n\r\n",
	"HTTP/1.1 500 No\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
	"HTTP/1.1 301 Elsewhere\r\nLocation: /\r\nContent-Length: 0\r\n\r\n",
	"not HTTP at all",
	"", /* hangs up */
	NULL, /* hangs */
};
#define ANSWERS (sizeof(answers) / sizeof(answers[0]))

static bool answer(void *context, int fd, const struct test_request *request)
{
	struct random *random = context;
	const char *text = answers[random_below(random, ANSWERS)];

	if (text == NULL)
		usleep(60000);
	else
		test_say(fd, text);
	return text && *text == 'H';
}

static void on_wake(void *context)
{
}

static void on_progress(void *context)
{
	++*(unsigned *)context;
}

struct sums {
	double sent, dropped;
};

static void on_family(void *context, const struct metric_def *def, size_t points)
{
}

static void on_point(void *context, const struct metric_def *def,
		     const struct metric_point *point)
{
	struct sums *sums = context;

	if (slice_equal(def->name, SLICE("telemetry_exported_total")))
		sums->sent += point->value;
	if (slice_equal(def->name, SLICE("telemetry_spans_dropped_total")))
		sums->dropped += point->value;
}

static void walk(uint64_t seed, bool gzip)
{
	struct http_client_config client_config = { .connections_max = 1,
						    .idle_max = 1,
						    .idle_timeout_ms = 1000,
						    .connect_timeout_ms = 1000,
						    .waiting_max = 2,
						    .response_size_max = 1000 };
	struct random random, theirs;
	struct test_server *server = test_server_start(answer, &theirs);
	struct metrics *metrics = metrics_create();
	struct log_hub *hub = log_hub_create(LOG_info, on_wake, NULL);
	struct observer observer = { log_create(hub, 65536), meter_create(metrics),
				     NULL };
	struct chaos chaos = { 0 };
	struct loop *loop = loop_create(&observer, &chaos);
	struct http_client *client = http_client_create(loop, &client_config);
	struct otel_exporter exporter = { .on = true, .timeout_ms = 30, .gzip = gzip };
	unsigned progressed = 0;
	struct export_sender_config config = {
		.loop = loop,
		.client = client,
		.signal = OTLP_traces,
		.exporter = &exporter,
		.batch = { .delay_ms = 3, .queue_max = 40, .batch_max = 10 },
		.give_up_ms = 30,
		.backoff_ms = 4,
		.progressed = on_progress,
		.context = &progressed,
	};
	struct metrics_reader reader = { on_family, on_point, NULL };
	struct export_sender *sender;
	struct sums sums = { 0 };
	size_t added = 0;
	char url[100];

	random_init(&random, seed);
	random_init(&theirs, seed + 1);
	snprintf(url, sizeof(url), "http://127.0.0.1:%u/v1/traces", server->port);
	exporter.url = slice_text(url);
	sender = export_sender_create(&config);
	for (int step = 0; step < 1500; step++) {
		for (uint64_t count = random_below(&random, 6); count > 0;
		     count--, added++)
			if (export_sender_room(sender) == 0) {
				export_sender_drop(sender, 1, "queue_full");
			} else {
				otlp_add_span(export_sender_batch(sender),
					      SLICE("\x2a\x01x"));
				export_sender_added(sender);
			}
		if (random_below(&random, 50) == 0)
			export_sender_flush(sender);
		export_sender_check(sender);
		loop_turn(loop, (int)random_below(&random, 3));
		export_sender_check(sender);
	}
	export_sender_drain(sender, mono_after_ms(clock_mono(), 200));
	while (!export_sender_idle(sender)) {
		loop_turn(loop, 10);
		export_sender_check(sender);
	}
	reader.context = &sums;
	metrics_read(metrics, &reader);
	assert_true(sums.sent > 0 && sums.dropped > 0 && progressed > 0);
	assert_true(sums.sent + sums.dropped == (double)added);
	http_client_destroy(client);
	export_sender_destroy(sender);
	test_server_stop(server);
	loop_destroy(loop);
	log_hub_destroy(hub);
	metrics_destroy(metrics);
}

static void every_span_is_sent_or_counted_as_dropped(void **state)
{
	walk(1, false);
	walk(2, true);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_span_is_sent_or_counted_as_dropped),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
