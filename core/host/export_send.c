/* SPDX-License-Identifier: MIT */
/* export_send.c -- the OTLP/HTTP protocol's rules for batches. */
#include "host/export_send.h"

#include "base/check.h"
#include "base/random.h"
#include "http/client.h"
#include "watch/log.h"
#include "watch/metrics.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define BODY_SIZE_MAX (64u << 20) /* of the protocol */
#define PAUSE_MAX_MS 30000
#define HEADERS_MAX (OTEL_HEADERS_MAX + 3)

struct closed_batch { /* ready to post */
	struct list member;
	struct buf body;
	size_t count;
	struct mono first_post; /* 0: not tried yet */
	unsigned failures;
};

struct export_sender {
	struct export_sender_config config;
	struct otlp_batch filling;
	struct list queued; /* closed batches; the first is the one being posted or paused
			       for */
	size_t queued_count; /* items */
	bool posting, draining, failing;
	struct mono drain_deadline;
	struct timer age; /* of the batch being filled */
	struct timer pause;
	struct random random;
	struct http_header headers[HEADERS_MAX];
	size_t header_count;
	bool abandoned; /* the post under way belongs to nobody */
};

static const char *const words[] = {
	[OTLP_traces] = "traces", [OTLP_logs] = "logs", [OTLP_metrics] = "metrics"
};

static void post(struct export_sender *sender);

/* --- counting --------------------------------------------------------------------- */

static struct series *own(struct export_sender *sender, enum metric_id id,
			  const char *reason)
{
	struct meter *meter = loop_observer(sender->config.loop)->meter;
	struct slice signal = slice_text(words[sender->config.signal]);

	if (id == METRIC_spans_dropped)
		return meter_own(meter, id, (size_t)1, slice_text(reason));
	if (id == METRIC_otlp_sent)
		return meter_own(meter, id, (size_t)1, signal);
	return meter_own(meter, id, (size_t)2, signal, slice_text(reason));
}

void export_sender_drop(struct export_sender *sender, size_t count, const char *reason)
{
	if (count == 0)
		return;
	if (sender->config.signal == OTLP_traces)
		series_add(own(sender, METRIC_spans_dropped, reason), (double)count);
	else
		series_add(own(sender, METRIC_otlp_failures, reason), 1);
}

static void count_failure(struct export_sender *sender, const char *reason)
{
	series_add(own(sender, METRIC_otlp_failures, reason), 1);
}

/* An outage is logged when it begins and when it ends. */
static void say_failing(struct export_sender *sender, const char *reason,
			const char *detail)
{
	if (sender->failing)
		return;
	sender->failing = true;
	log_printf(loop_observer(sender->config.loop)->log, LOG_warn,
		   "cannot export %s to %.*s: %s %s", words[sender->config.signal],
		   SLICE_PRINT(sender->config.exporter->url), reason, detail);
}

static void say_working(struct export_sender *sender)
{
	if (!sender->failing)
		return;
	sender->failing = false;
	log_printf(loop_observer(sender->config.loop)->log, LOG_info,
		   "exporting %s again", words[sender->config.signal]);
}

/* --- the queue -------------------------------------------------------------------- */

static struct closed_batch *first_queued(struct export_sender *sender)
{
	return list_empty(&sender->queued)
		       ? NULL
		       : list_of(sender->queued.next, struct closed_batch, member);
}

static void remove_first(struct export_sender *sender)
{
	struct closed_batch *batch = first_queued(sender);

	list_remove(&batch->member);
	sender->queued_count -= batch->count;
	buf_finish(&batch->body);
	free(batch);
}

static void drop_first(struct export_sender *sender, const char *reason)
{
	export_sender_drop(sender, first_queued(sender)->count, reason);
	remove_first(sender);
}

/* An old metrics export says nothing that a newer one does not: only the first, perhaps
 * under way, is kept. */
static void forget_older_metrics(struct export_sender *sender)
{
	while (sender->config.signal == OTLP_metrics && !list_empty(&sender->queued) &&
	       sender->queued.next != sender->queued.previous) {
		struct closed_batch *last =
			list_of(sender->queued.previous, struct closed_batch, member);

		list_remove(&last->member);
		sender->queued_count -= last->count;
		export_sender_drop(sender, last->count, "queue_full");
		buf_finish(&last->body);
		free(last);
	}
}

static void close_batch(struct export_sender *sender)
{
	struct closed_batch *batch;
	struct buf plain = { 0 };

	timer_stop(sender->config.loop, &sender->age);
	if (sender->filling.count == 0)
		return;
	forget_older_metrics(sender);
	batch = mem_zeroed(1, sizeof(*batch));
	batch->count = sender->filling.count;
	otlp_finish(&sender->filling, sender->config.resource,
		    sender->config.resource_count, &plain);
	if (plain.size > BODY_SIZE_MAX) {
		export_sender_drop(sender, batch->count, "refused");
		buf_finish(&plain);
		free(batch);
		return;
	}
	if (sender->config.exporter->gzip) {
		otlp_gzip(&batch->body, buf_slice(&plain));
		buf_finish(&plain);
	} else {
		batch->body = plain;
	}
	list_append(&sender->queued, &batch->member);
	sender->queued_count += batch->count;
	post(sender);
}

static void on_age(void *context)
{
	close_batch(context);
}

size_t export_sender_room(const struct export_sender *sender)
{
	size_t held = sender->filling.count + sender->queued_count;

	if (sender->draining)
		return SIZE_MAX;
	return held < sender->config.batch.queue_max
		       ? sender->config.batch.queue_max - held
		       : 0;
}

bool export_sender_pausing(const struct export_sender *sender)
{
	return timer_started(&sender->pause);
}

struct otlp_batch *export_sender_batch(struct export_sender *sender)
{
	return &sender->filling;
}

void export_sender_added(struct export_sender *sender)
{
	struct loop *loop = sender->config.loop;

	if (sender->filling.count >= sender->config.batch.batch_max)
		close_batch(sender);
	else if (sender->filling.count > 0 && !timer_started(&sender->age))
		timer_start(loop, &sender->age,
			    mono_after_ms(loop_now(loop), sender->config.batch.delay_ms),
			    on_age, sender);
}

void export_sender_flush(struct export_sender *sender)
{
	close_batch(sender);
}

/* --- posting ---------------------------------------------------------------------- */

/* Retry-After: seconds or a date; -1 when there is none or it makes no sense. */
static int retry_after_ms(const struct http_answer *answer)
{
	for (size_t i = 0; i < answer->header_count; i++) {
		struct slice value = answer->headers[i].value;
		unsigned long long seconds;
		struct tm date = { 0 };
		char text[64];
		const char *end;
		int64_t left;

		if (!slice_equal(answer->headers[i].name, SLICE("retry-after")))
			continue;
		if (slice_to_uint(value, &seconds))
			return seconds < PAUSE_MAX_MS / 1000 ? (int)seconds * 1000
							     : PAUSE_MAX_MS;
		if (value.size >= sizeof(text))
			return -1;
		memcpy(text, value.at, value.size);
		text[value.size] = '\0';
		end = strptime(text, "%a, %d %b %Y %H:%M:%S GMT", &date);
		if (end == NULL || *end != '\0')
			return -1;
		left = timegm(&date) * 1000LL - clock_wall().ns / 1000000;
		return left < 0 ? 0 : left < PAUSE_MAX_MS ? (int)left : PAUSE_MAX_MS;
	}
	return -1;
}

/* Grows by half each time, and is spread over half of it to both sides so that many hosts
 * do not knock together. */
static int backoff_ms(struct export_sender *sender, unsigned failures)
{
	double ms = sender->config.backoff_ms;

	for (unsigned i = 1; i < failures && ms < PAUSE_MAX_MS; i++)
		ms *= 1.5;
	if (ms > PAUSE_MAX_MS)
		ms = PAUSE_MAX_MS;
	return (int)(ms * (0.5 + random_unit(&sender->random)));
}

static void on_pause_over(void *context)
{
	post(context);
}

/* The first batch failed in a way that may pass. pause_ms -1: our own back-off. */
static void try_again(struct export_sender *sender, int pause_ms)
{
	struct closed_batch *batch = first_queued(sender);
	struct mono now = loop_now(sender->config.loop);
	int64_t tried_ms = (now.ns - batch->first_post.ns) / 1000000;

	if (sender->draining) {
		/* The others would fare no better in the time that is left. */
		export_sender_abandon(sender);
		return;
	}
	batch->failures++;
	if (pause_ms < 0)
		pause_ms = backoff_ms(sender, batch->failures);
	if (tried_ms >= sender->config.give_up_ms) {
		drop_first(sender, "gave_up");
		if (list_empty(&sender->queued))
			return;
	}
	timer_start(sender->config.loop, &sender->pause, mono_after_ms(now, pause_ms),
		    on_pause_over, sender);
}

static void take_success(struct export_sender *sender, const struct http_answer *answer)
{
	size_t count = first_queued(sender)->count, rejected = 0;
	struct slice message = { NULL, 0 };
	uint64_t number = 0;

	if (answer->body.size > 0 &&
	    otlp_read_response(answer->body, &number, &message) &&
	    (number > 0 || message.size > 0)) {
		rejected = number < count ? (size_t)number : count;
		if (rejected > 0)
			count_failure(sender, "rejected");
		if (rejected > 0 && sender->config.signal == OTLP_traces)
			export_sender_drop(sender, rejected, "rejected");
		log_printf(loop_observer(sender->config.loop)->log, LOG_warn,
			   "the collector rejected %zu of %zu %s: %.*s", rejected, count,
			   words[sender->config.signal],
			   (int)(message.size < 200 ? message.size : 200), message.at);
	}
	/* A metrics export counts as one. */
	if (sender->config.signal == OTLP_metrics)
		series_add(own(sender, METRIC_otlp_sent, NULL), 1);
	else
		series_add(own(sender, METRIC_otlp_sent, NULL),
			   (double)(count - rejected));
	remove_first(sender);
	say_working(sender);
}

static void take_answer(struct export_sender *sender, const struct http_answer *answer)
{
	int status = answer->status;
	char text[12];

	if (status >= 200 && status < 300) {
		take_success(sender, answer);
		return;
	}
	snprintf(text, sizeof(text), "%d", status);
	count_failure(sender, text);
	say_failing(sender, "status", text);
	if (status == 429 || status == 502 || status == 503 || status == 504)
		try_again(sender, retry_after_ms(answer));
	else
		drop_first(sender, "refused");
}

static void take_failure(struct export_sender *sender, const struct fault *why)
{
	count_failure(sender, fault_name(why->kind));
	say_failing(sender, fault_name(why->kind), why->detail);
	if (why->kind == FAULT_unavailable || why->kind == FAULT_timeout ||
	    why->kind == FAULT_uncertain)
		try_again(sender, -1);
	else
		drop_first(sender, "refused");
}

static void on_posted(void *context, const struct http_answer *answer,
		      const struct fault *why)
{
	struct export_sender *sender = context;

	sender->posting = false;
	if (why && why->kind == FAULT_cancelled)
		return;
	if (sender->abandoned)
		sender->abandoned = false;
	else if (answer)
		take_answer(sender, answer);
	else
		take_failure(sender, why);
	post(sender);
	sender->config.progressed(sender->config.context);
}

static struct mono attempt_deadline(const struct export_sender *sender)
{
	struct mono now = loop_now(sender->config.loop), deadline = MONO_NEVER;

	if (sender->config.exporter->timeout_ms > 0)
		deadline = mono_after_ms(now, sender->config.exporter->timeout_ms);
	if (sender->config.batch.timeout_ms > 0)
		deadline = mono_earlier(
			deadline, mono_after_ms(now, sender->config.batch.timeout_ms));
	if (sender->draining)
		deadline = mono_earlier(deadline, sender->drain_deadline);
	return deadline;
}

/* Posts the first batch, unless one is under way or has to wait. */
static void post(struct export_sender *sender)
{
	struct closed_batch *batch = first_queued(sender);
	struct http_call call = { .method = SLICE("POST") };

	if (batch == NULL || sender->posting || export_sender_pausing(sender))
		return;
	if (batch->first_post.ns == 0)
		batch->first_post = loop_now(sender->config.loop);
	sender->posting = true;
	call.url = sender->config.exporter->url;
	call.headers = sender->headers;
	call.header_count = sender->header_count;
	call.body = buf_slice(&batch->body);
	call.deadline = attempt_deadline(sender);
	call.retry_stale_ok = true; /* the collector may get a batch twice; that is better
				       than not at all */
	http_client_call(sender->config.client, &call, on_posted, sender);
}

/* --- life ------------------------------------------------------------------------- */

static void add_header(struct export_sender *sender, struct slice name,
		       struct slice value)
{
	sender->headers[sender->header_count++] = (struct http_header){ name, value };
}

static void write_headers(struct export_sender *sender)
{
	const struct otel_exporter *exporter = sender->config.exporter;

	add_header(sender, SLICE("content-type"), SLICE("application/x-protobuf"));
	add_header(sender, SLICE("user-agent"),
		   SLICE("OTel-OTLP-Exporter-Orrery/" ORRERY_VERSION));
	if (exporter->gzip)
		add_header(sender, SLICE("content-encoding"), SLICE("gzip"));
	for (size_t i = 0; i < exporter->header_count; i++)
		add_header(sender, exporter->headers[i].name, exporter->headers[i].value);
}

struct export_sender *export_sender_create(const struct export_sender_config *config)
{
	struct export_sender *sender = mem_zeroed(1, sizeof(*sender));

	sender->config = *config;
	sender->filling.signal = config->signal;
	list_init(&sender->queued);
	random_init_secure(&sender->random);
	write_headers(sender);
	/* Series exist from the start: a rate over what was never there is no zero. */
	series_add(own(sender, METRIC_otlp_sent, NULL), 0);
	if (config->signal == OTLP_traces)
		series_add(own(sender, METRIC_spans_dropped, "queue_full"), 0);
	return sender;
}

void export_sender_destroy(struct export_sender *sender)
{
	if (sender == NULL)
		return;
	timer_stop(sender->config.loop, &sender->age);
	timer_stop(sender->config.loop, &sender->pause);
	while (!list_empty(&sender->queued))
		remove_first(sender);
	otlp_batch_finish(&sender->filling);
	free(sender);
}

void export_sender_drain(struct export_sender *sender, struct mono deadline)
{
	sender->draining = true;
	sender->drain_deadline = deadline;
	timer_stop(sender->config.loop, &sender->pause);
	close_batch(sender);
	post(sender);
}

void export_sender_abandon(struct export_sender *sender)
{
	sender->abandoned = sender->posting;
	while (!list_empty(&sender->queued))
		drop_first(sender, "shutdown");
	export_sender_drop(sender, sender->filling.count, "shutdown");
	otlp_batch_finish(&sender->filling);
	sender->filling.signal = sender->config.signal;
	timer_stop(sender->config.loop, &sender->age);
	timer_stop(sender->config.loop, &sender->pause);
}

bool export_sender_idle(const struct export_sender *sender)
{
	return !sender->posting && sender->filling.count == 0 &&
	       list_empty(&sender->queued);
}

void export_sender_check(const struct export_sender *sender)
{
	size_t count = 0;

	for (const struct list *at = sender->queued.next; at != &sender->queued;
	     at = at->next)
		count += list_of(at, struct closed_batch, member)->count;
	check(count == sender->queued_count);
	check(!(sender->posting && export_sender_pausing(sender)));
	if (!sender->draining && sender->config.signal != OTLP_metrics)
		check(count + sender->filling.count <= sender->config.batch.queue_max);
}
