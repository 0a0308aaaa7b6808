/* SPDX-License-Identifier: MIT */
#include "host/export.h"

#include "../http/test_server.h"
#include "base/check.h"
#include "host/export_lines.h"
#include "loop/loop.h"
#include "watch/metrics.h"
#include "watch/trace.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <fcntl.h>
#include <signal.h>
#include <zlib.h>

/* --- a collector ------------------------------------------------------------------ */

enum mood {
	TAKES,
	UNAVAILABLE_ONCE,
	THROTTLES_ONCE,
	REFUSES,
	REJECTS_ONE,
	HANGS,
	DOWN,
	RESETS_ONCE
};

#define POSTS_MAX 256

struct collector {
	struct test_server *server;
	atomic_int mood;
	atomic_uint posts; /* all requests */
	pthread_mutex_t lock;
	struct post { /* those taken */
		char path[64];
		char *body;
		size_t size;
		bool gzip;
	} taken[POSTS_MAX];
	atomic_uint taken_count;
};

static void take(struct collector *collector, const struct test_request *request)
{
	struct post *post;

	pthread_mutex_lock(&collector->lock);
	post = &collector->taken[collector->taken_count];
	check(collector->taken_count < POSTS_MAX);
	snprintf(post->path, sizeof(post->path), "%.63s", request->path);
	post->body = mem_copy(request->body, request->body_size);
	post->size = request->body_size;
	post->gzip = strstr(request->head, "content-encoding: gzip") != NULL;
	atomic_fetch_add(&collector->taken_count, 1);
	pthread_mutex_unlock(&collector->lock);
}

static bool answer(void *context, int fd, const struct test_request *request)
{
	struct collector *collector = context;
	static const char partial[] = "HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\n"
				      "\x0a\x09\x08\x01\x12\x05nasty";
	int once = atomic_load(&collector->mood);

	check(strcmp(request->method, "POST") == 0);
	check(strstr(request->head, "content-type: application/x-protobuf"));
	check(strstr(request->head, "user-agent: OTel-OTLP-Exporter-Orrery/"));
	check(!strstr(request->head, "traceparent"));
	atomic_fetch_add(&collector->posts, 1);
	switch (once) {
	case UNAVAILABLE_ONCE:
		atomic_store(&collector->mood, TAKES);
		test_say(fd, "HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n");
		return true;
	case THROTTLES_ONCE:
		atomic_store(&collector->mood, TAKES);
		test_say(
			fd,
			"HTTP/1.1 429 No\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n");
		return true;
	case RESETS_ONCE:
		atomic_store(&collector->mood, TAKES);
		return false;
	case REFUSES:
		test_say(fd, "HTTP/1.1 400 No\r\nContent-Length: 0\r\n\r\n");
		return true;
	case DOWN:
		test_say(fd, "HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n");
		return true;
	case HANGS:
		while (atomic_load(&collector->mood) == HANGS)
			usleep(1000);
		return false;
	case REJECTS_ONE:
		take(collector, request);
		test_say(fd, partial);
		return true;
	default:
		take(collector, request);
		test_say(fd, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
		return true;
	}
}

/* --- a process -------------------------------------------------------------------- */

struct process {
	struct collector collector;
	struct otel_config config;
	struct metrics *metrics;
	struct export *export;
	struct log *log;
	struct tracer *tracers[2];
	int out[2]; /* the pipe that stands for standard output */
};

static const char *const *environment;
static char endpoint[100];

static const char *find(void *context, const char *name)
{
	size_t size = strlen(name);

	if (strcmp(name, "OTEL_EXPORTER_OTLP_ENDPOINT") == 0)
		return endpoint;
	for (const char *const *at = environment; *at; at++)
		if (strncmp(*at, name, size) == 0 && (*at)[size] == '=')
			return *at + size + 1;
	return NULL;
}

/* With a collector unless told otherwise: then the endpoint is closed. */
static struct process *process_start(enum mood mood, const char *const *variables)
{
	struct process *process = mem_zeroed(1, sizeof(*process));
	struct tracer_config tracing;
	struct fault why;

	atomic_store(&process->collector.mood, mood);
	pthread_mutex_init(&process->collector.lock, NULL);
	process->collector.server = test_server_start(answer, &process->collector);
	snprintf(endpoint, sizeof(endpoint), "http://127.0.0.1:%u",
		 process->collector.server->port);
	environment = variables;
	assert_true(
		otel_config_read(&process->config, SLICE("orders"), find, NULL, &why));
	process->metrics = metrics_create();
	process->export = export_create(&process->config, process->metrics, LOG_info);
	process->log = log_create(export_logs(process->export), 1 << 20);
	assert_int_equal(pipe2(process->out, O_CLOEXEC), 0);
	export_lines_to(process->export, process->out[1]);
	export_patience(process->export, 300, 20);
	tracing = otel_tracer_config(&process->config, 1 << 18);
	for (unsigned i = 0; i < 2; i++)
		process->tracers[i] = tracer_create(&tracing, i + 1);
	assert_true(export_start(process->export, process->tracers, 2, &why));
	return process;
}

static void process_end(struct process *process, int deadline_ms)
{
	export_stop(process->export, deadline_ms);
	atomic_store(&process->collector.mood, TAKES);
	test_server_stop(process->collector.server);
}

static void process_free(struct process *process)
{
	export_destroy(process->export);
	for (int i = 0; i < 2; i++)
		tracer_destroy(process->tracers[i]);
	metrics_destroy(process->metrics);
	otel_config_finish(&process->config);
	close(process->out[0]);
	close(process->out[1]);
	for (unsigned i = 0; i < process->collector.taken_count; i++)
		free(process->collector.taken[i].body);
	free(process);
}

static void record_spans(struct process *process, unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		span_end(span_start(process->tracers[i % 2], SPAN_server, SLICE("GET /x"),
				    NULL));
}

/* Waits until it holds, at most some seconds. */
#define AWAIT(condition)                                                                 \
	do {                                                                             \
		for (int tries_ = 0; tries_ < 8000 && !(condition); tries_++)            \
			usleep(1000);                                                    \
		assert_true(condition);                                                  \
	} while (0)

/* --- reading what came ------------------------------------------------------------ */

static unsigned count_text(const struct post *post, const char *text)
{
	unsigned count = 0;
	const char *at = post->body, *end = post->body + post->size;

	while ((at = memmem(at, (size_t)(end - at), text, strlen(text)))) {
		count++;
		at += strlen(text);
	}
	return count;
}

/* How often the text stands in the bodies posted to the path. */
static unsigned taken(struct process *process, const char *path, const char *text)
{
	unsigned count = 0;

	pthread_mutex_lock(&process->collector.lock);
	for (unsigned i = 0; i < process->collector.taken_count; i++)
		if (strcmp(process->collector.taken[i].path, path) == 0)
			count += count_text(&process->collector.taken[i], text);
	pthread_mutex_unlock(&process->collector.lock);
	return count;
}

struct wanted {
	const char *name;
	const char *values[2]; /* NULL: any */
	double value;
};

static void on_family(void *context, const struct metric_def *def, size_t points)
{
}

static void on_point(void *context, const struct metric_def *def,
		     const struct metric_point *point)
{
	struct wanted *wanted = context;

	if (!slice_equal(def->name, slice_text(wanted->name)))
		return;
	for (size_t i = 0; i < def->label_count && i < 2; i++)
		if (wanted->values[i] &&
		    !slice_equal(point->values[i], slice_text(wanted->values[i])))
			return;
	wanted->value += point->value;
}

static double series(struct process *process, const char *name, const char *first,
		     const char *second)
{
	struct wanted wanted = { name, { first, second }, 0 };
	struct metrics_reader reader = { on_family, on_point, &wanted };

	metrics_read(process->metrics, &reader);
	return wanted.value;
}

#define SENT(signal) series(process, "telemetry_exported_total", signal, NULL)
#define FAILED(signal, reason)                                                           \
	series(process, "telemetry_export_failures_total", signal, reason)
#define DROPPED(reason) series(process, "telemetry_spans_dropped_total", reason, NULL)

static size_t read_lines(struct process *process, char *text, size_t size)
{
	size_t got = 0;
	ssize_t now;

	fcntl(process->out[0], F_SETFL, O_NONBLOCK);
	while ((now = read(process->out[0], text + got, size - 1 - got)) > 0)
		got += (size_t)now;
	text[got] = '\0';
	return got;
}

static const char *const quick[] = { "OTEL_BSP_SCHEDULE_DELAY=50",
				     "OTEL_BLRP_SCHEDULE_DELAY=50",
				     "OTEL_METRIC_EXPORT_INTERVAL=100", NULL };
static const char *const only_traces[] = {
	"OTEL_BSP_SCHEDULE_DELAY=50",	     "OTEL_LOGS_EXPORTER=none",
	"OTEL_METRICS_EXPORTER=none",	     "OTEL_BSP_MAX_QUEUE_SIZE=40",
	"OTEL_BSP_MAX_EXPORT_BATCH_SIZE=10", NULL
};
static const char *const slow_traces[] = { "OTEL_LOGS_EXPORTER=none",
					   "OTEL_METRICS_EXPORTER=none", NULL };
static const char *const nothing[] = { "OTEL_LOGS_EXPORTER=none",
				       "OTEL_METRICS_EXPORTER=none",
				       "OTEL_TRACES_EXPORTER=none", NULL };

/* --- tests ------------------------------------------------------------------------ */

static void all_three_signals_reach_the_collector_with_their_resource(void **state)
{
	struct process *process = process_start(TAKES, quick);

	record_spans(process, 5);
	log_printf(process->log, LOG_info, "a line for the collector");
	AWAIT(taken(process, "/v1/traces", "GET /x") == 5);
	AWAIT(taken(process, "/v1/logs", "a line for the collector") == 1);
	AWAIT(taken(process, "/v1/metrics", "http.client.request.duration") >= 1);
	assert_true(taken(process, "/v1/traces", "service.instance.id") >= 1);
	assert_true(taken(process, "/v1/metrics", "telemetry.sdk.name") >= 1);
	assert_true(taken(process, "/v1/logs", "orders") >= 1);
	process_end(process, 2000);
	assert_true(SENT("traces") == 5);
	assert_true(SENT("logs") == 1);
	assert_true(SENT("metrics") >= 1);
	assert_true(FAILED(NULL, NULL) == 0);
	process_free(process);
}

/* protoc reads what was sent: an independent reader of the published field numbers. */
static void what_is_sent_is_otlp(void **state)
{
	struct process *process = process_start(TAKES, quick);
	char folder[600], file[] = "/tmp/otlp-XXXXXX", command[2000], text[65536];
	static const char *const kinds[][3] = {
		{ "/v1/traces", "TracesRequest", "name: \"GET /x\"" },
		{ "/v1/logs", "LogsRequest", "string_value: \"decoded line\"" },
		{ "/v1/metrics", "MetricsRequest",
		  "name: \"http.client.request.duration\"" },
	};

	snprintf(folder, sizeof(folder), "%.*s../../telemetry",
		 (int)(strrchr(__FILE__, '/') + 1 - __FILE__), __FILE__);
	snprintf(command, sizeof(command), "%s/otlp.proto", folder);
	record_spans(process, 3);
	log_printf(process->log, LOG_warn, "decoded line");
	AWAIT(taken(process, "/v1/metrics", "http.client.request.duration") >= 1 &&
	      taken(process, "/v1/traces", "GET /x") == 3 &&
	      taken(process, "/v1/logs", "decoded line") == 1);
	process_end(process, 2000);
	if (access(command, R_OK) != 0 ||
	    system("protoc --version >/dev/null 2>&1") != 0) {
		process_free(process);
		skip();
	}
	close(mkstemp(file));
	for (int i = 0; i < 3; i++) {
		bool found = false;

		for (unsigned j = 0; j < process->collector.taken_count; j++) {
			const struct post *post = &process->collector.taken[j];
			FILE *stream;
			size_t size;

			if (strcmp(post->path, kinds[i][0]) != 0)
				continue;
			stream = fopen(file, "w");
			fwrite(post->body, 1, post->size, stream);
			fclose(stream);
			snprintf(command, sizeof(command),
				 "protoc --decode=otlp.%s -I '%s' '%s/otlp.proto' < %s",
				 kinds[i][1], folder, folder, file);
			stream = popen(command, "r");
			size = fread(text, 1, sizeof(text) - 1, stream);
			text[size] = '\0';
			assert_int_equal(pclose(stream), 0);
			found = found || strstr(text, kinds[i][2]);
			assert_non_null(strstr(text, "key: \"service.name\""));
			assert_non_null(strstr(text, "string_value: \"orders\""));
			/* A field nobody declared shows as a bare number. */
			assert_null(strstr(text, "\n1: "));
		}
		assert_true(found);
	}
	unlink(file);
	process_free(process);
}

static void bodies_are_compressed_when_asked(void **state)
{
	static const char *const variables[] = { "OTEL_EXPORTER_OTLP_COMPRESSION=gzip",
						 "OTEL_BSP_SCHEDULE_DELAY=50",
						 "OTEL_LOGS_EXPORTER=none",
						 "OTEL_METRICS_EXPORTER=none", NULL };
	struct process *process = process_start(TAKES, variables);
	struct post *post = &process->collector.taken[0];
	unsigned char plain[65536];
	z_stream stream = { .next_out = plain, .avail_out = sizeof(plain) };

	record_spans(process, 100);
	AWAIT(process->collector.taken_count >= 1);
	process_end(process, 2000);
	assert_true(post->gzip);
	stream.next_in = (unsigned char *)post->body;
	stream.avail_in = (unsigned)post->size;
	assert_int_equal(inflateInit2(&stream, 31), Z_OK);
	assert_int_equal(inflate(&stream, Z_FINISH), Z_STREAM_END);
	inflateEnd(&stream);
	assert_non_null(memmem(plain, stream.total_out, "GET /x", 6));
	process_free(process);
}

static void what_failed_for_a_moment_is_sent_again(void **state)
{
	static const enum mood moods[] = { UNAVAILABLE_ONCE, RESETS_ONCE,
					   THROTTLES_ONCE };
	static const char *const reasons[] = { "503", "uncertain", "429" };

	for (int i = 0; i < 3; i++) {
		struct process *process = process_start(moods[i], only_traces);
		struct mono began = clock_mono();

		record_spans(process, 5);
		AWAIT(taken(process, "/v1/traces", "GET /x") == 5);
		/* Retry-After: 1 wins over our 20 ms. */
		if (moods[i] == THROTTLES_ONCE)
			assert_true(mono_seconds(began, clock_mono()) >= 1);
		process_end(process, 2000);
		assert_true(SENT("traces") == 5);
		assert_true(FAILED("traces", reasons[i]) == 1);
		assert_true(DROPPED(NULL) == 0);
		process_free(process);
	}
}

static void what_is_refused_is_dropped_and_counted(void **state)
{
	struct process *process = process_start(REFUSES, only_traces);

	record_spans(process, 5);
	AWAIT(DROPPED("refused") == 5);
	assert_true(FAILED("traces", "400") == 1);
	process_end(process, 2000);
	assert_int_equal(process->collector.posts, 1);
	assert_true(SENT("traces") == 0);
	process_free(process);
}

static void a_partial_success_is_never_sent_again(void **state)
{
	struct process *process = process_start(REJECTS_ONE, only_traces);

	record_spans(process, 5);
	AWAIT(DROPPED("rejected") == 1);
	process_end(process, 2000);
	assert_int_equal(process->collector.posts, 1);
	assert_true(SENT("traces") == 4);
	process_free(process);
}

static void a_batch_is_given_up_after_a_while(void **state)
{
	struct process *process = process_start(DOWN, only_traces);

	record_spans(process, 5);
	AWAIT(DROPPED("gave_up") == 5);
	assert_true(process->collector.posts >= 3);
	atomic_store(&process->collector.mood, TAKES);
	record_spans(process, 3);
	AWAIT(SENT("traces") == 3);
	process_end(process, 2000);
	process_free(process);
}

static void a_full_queue_drops_and_counts_while_nothing_gets_through(void **state)
{
	struct process *process = process_start(DOWN, only_traces);
	double sum;

	record_spans(process, 20);
	AWAIT(FAILED("traces", "503") >= 1);
	record_spans(process, 100);
	AWAIT(DROPPED("queue_full") > 0);
	process_end(process, 2000);
	sum = DROPPED(NULL) + SENT("traces");
	assert_true(sum == 120);
	process_free(process);
}

static void everything_gets_through_in_full_batches_when_the_collector_is(void **state)
{
	struct process *process = process_start(TAKES, only_traces);

	record_spans(process, 1000);
	AWAIT(SENT("traces") == 1000);
	assert_true(process->collector.taken_count >= 100);
	process_end(process, 2000);
	assert_true(DROPPED(NULL) == 0);
	process_free(process);
}

static void stopping_sends_what_is_left(void **state)
{
	struct process *process = process_start(TAKES, slow_traces);
	struct mono began = clock_mono();

	record_spans(process, 1500);
	process_end(process, 5000);
	assert_true(mono_seconds(began, clock_mono()) < 4);
	assert_true(SENT("traces") == 1500);
	assert_int_equal(taken(process, "/v1/traces", "GET /x"), 1500);
	process_free(process);
}

static void stopping_is_bounded_when_the_collector_hangs_or_is_down(void **state)
{
	for (int down = 0; down < 2; down++) {
		struct process *process = process_start(down ? DOWN : HANGS, slow_traces);
		struct mono began = clock_mono();

		record_spans(process, 600);
		export_stop(process->export, 300);
		assert_true(mono_seconds(began, clock_mono()) < 2);
		assert_true(DROPPED("shutdown") == 600);
		process_end(process, 0);
		process_free(process);
	}
}

static void a_closed_port_costs_nothing_but_the_telemetry(void **state)
{
	struct process *process = process_start(TAKES, only_traces);
	char text[20000];

	test_server_stop(process->collector.server);
	record_spans(process, 5);
	AWAIT(DROPPED("gave_up") == 5);
	assert_true(FAILED("traces", "unavailable") >= 2);
	export_stop(process->export, 1000);
	read_lines(process, text, sizeof(text));
	/* Said once, not at each attempt. */
	assert_non_null(strstr(text, "cannot export traces"));
	assert_null(strstr(strstr(text, "cannot export traces") + 1, "cannot export"));
	process_free(process);
}

static void lines_are_written_soon_in_order_and_whole(void **state)
{
	struct process *process = process_start(TAKES, nothing);
	static char text[2000000];
	size_t got = 0;
	int expected = 0;

	log_printf(process->log, LOG_info, "line 0");
	AWAIT(got > 0 || (got = read_lines(process, text, 1000)) > 0);
	assert_non_null(strstr(text, "\"message\":\"line 0\""));
	assert_non_null(strstr(text, "\"service\":\"orders\""));
	assert_int_equal(text[got - 1], '\n');
	got = 0;
	for (int i = 1; i <= 3000; i++) {
		log_printf(process->log, LOG_info, "line %d", i);
		if (i % 100 == 0) {
			usleep(30000);
			got += read_lines(process, text + got, sizeof(text) - got);
		}
	}
	export_stop(process->export, 1000);
	got += read_lines(process, text + got, sizeof(text) - got);
	for (char *at = text; at < text + got; expected++) {
		char want[40];
		char *end = strchr(at, '\n');

		assert_non_null(end);
		*end = '\0';
		snprintf(want, sizeof(want), "\"message\":\"line %d\"", expected + 1);
		if (!strstr(at, want))
			fail_msg("%d: %s", expected, at);
		at = end + 1;
	}
	assert_int_equal(expected, 3000);
	process_end(process, 0);
	assert_int_equal(process->collector.posts, 0);
	process_free(process);
}

static void a_blocked_standard_output_blocks_nobody(void **state)
{
	struct process *process = process_start(TAKES, only_traces);
	struct mono began = clock_mono();

	/* Nobody reads the pipe: it takes 64 KiB, then the rings fill. */
	for (int i = 0; i < 40000; i++)
		log_printf(process->log, LOG_info,
			   "a long line, a long line, a long line, a long line, a long "
			   "line %d",
			   i);
	record_spans(process, 5);
	AWAIT(SENT("traces") == 5);
	export_stop(process->export, 200);
	assert_true(mono_seconds(began, clock_mono()) < 6);
	assert_true(log_hub_dropped(export_logs(process->export)) > 0);
	process_end(process, 0);
	process_free(process);
}

static void a_closed_standard_output_is_given_up(void **state)
{
	struct process *process = process_start(TAKES, only_traces);

	close(process->out[0]);
	process->out[0] = -1;
	for (int i = 0; i < 1000; i++)
		log_printf(process->log, LOG_info, "nobody reads this %d", i);
	record_spans(process, 5);
	AWAIT(SENT("traces") == 5);
	process_end(process, 1000);
	process_free(process);
}

static const char *find_named(void *context, const char *name)
{
	if (strcmp(name, "OTEL_RESOURCE_ATTRIBUTES") == 0)
		return "service.instance.id=orders-2,service.name=shop";
	return NULL;
}

static void what_is_scraped_names_the_process_as_its_telemetry_does(void **state)
{
	const struct slice named[] = { SLICE("shop"), SLICE("orders-2") };
	struct otel_config config;
	struct metrics *metrics = metrics_create();
	struct export *export;
	double value = 0;

	assert_true(otel_config_read(&config, SLICE("orders"), find_named, NULL, NULL));
	export = export_create(&config, metrics, LOG_info);
	assert_true(metrics_value(metrics, SLICE("target_info"), named, 2, &value));
	assert_true(value == 1);
	export_stop(export, 100);
	export_destroy(export);
	metrics_destroy(metrics);
	otel_config_finish(&config);
}

static void a_process_that_never_started_still_says_why(void **state)
{
	struct otel_config config;
	struct metrics *metrics = metrics_create();
	struct export *export;
	struct log *log;
	int out[2];
	char text[1000] = "";

	environment = nothing;
	assert_true(otel_config_read(&config, SLICE("orders"), find, NULL, NULL));
	assert_int_equal(pipe2(out, O_CLOEXEC), 0);
	export = export_create(&config, metrics, LOG_info);
	export_lines_to(export, out[1]);
	log = log_create(export_logs(export), 4096);
	log_printf(log, LOG_error, "the port is taken");
	export_stop(export, 100);
	assert_true(read(out[0], text, sizeof(text) - 1) > 0);
	assert_non_null(strstr(text, "the port is taken"));
	export_destroy(export);
	metrics_destroy(metrics);
	otel_config_finish(&config);
	close(out[0]);
	close(out[1]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(
			all_three_signals_reach_the_collector_with_their_resource),
		cmocka_unit_test(what_is_sent_is_otlp),
		cmocka_unit_test(bodies_are_compressed_when_asked),
		cmocka_unit_test(what_failed_for_a_moment_is_sent_again),
		cmocka_unit_test(what_is_refused_is_dropped_and_counted),
		cmocka_unit_test(a_partial_success_is_never_sent_again),
		cmocka_unit_test(a_batch_is_given_up_after_a_while),
		cmocka_unit_test(
			a_full_queue_drops_and_counts_while_nothing_gets_through),
		cmocka_unit_test(
			everything_gets_through_in_full_batches_when_the_collector_is),
		cmocka_unit_test(stopping_sends_what_is_left),
		cmocka_unit_test(stopping_is_bounded_when_the_collector_hangs_or_is_down),
		cmocka_unit_test(a_closed_port_costs_nothing_but_the_telemetry),
		cmocka_unit_test(lines_are_written_soon_in_order_and_whole),
		cmocka_unit_test(a_blocked_standard_output_blocks_nobody),
		cmocka_unit_test(a_closed_standard_output_is_given_up),
		cmocka_unit_test(what_is_scraped_names_the_process_as_its_telemetry_does),
		cmocka_unit_test(a_process_that_never_started_still_says_why),
	};

	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
