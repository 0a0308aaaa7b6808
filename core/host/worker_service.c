/* SPDX-License-Identifier: MIT */
#include "host/worker_service.h"

#include "api/handler.h"
#include "api/job.h"
#include "api/socket_hub.h"
#include "base/check.h"
#include "base/json.h"
#include "host/admin.h"
#include "host/conf.h"
#include "host/generation.h"
#include "host/wiring.h"
#include "host/worker_ports.h"
#include "loop/loop.h"
#include "script/vm.h"
#include "script/watchdog.h"
#include "store/amqp.h"
#include "watch/log.h"
#include "watch/metrics.h"
#include "watch/trace.h"

#include <stdatomic.h>
#include <stdlib.h>

#define MEASURE_MS 1000
#define DRAIN_LOOK_MS 10
#define GIVE_BACK_MS 1000 /* a message that nobody here consumes any more */
#define GOING_AWAY 1001 /* RFC 6455, 7.4.1 */

struct worker_service {
	struct worker_service_config config;
	struct loop *loop;
	struct generation *current;
	struct list draining; /* generations, the oldest first */
	unsigned draining_count;
	struct timer generations; /* looks whether one may end */
	struct job_hooks jobs;
	struct watchdog *_Atomic watchdog; /* while it runs */
	struct worker_ports ports;
	struct admin *admin;
	struct buf report; /* of the builder, for /ready */
	struct timer measure;
	struct timer drain;
	struct mail quiesce_mail;
	struct mail drain_mail;
	struct mono drain_until;
	bool ending; /* it takes no further generation */
	struct {
		double memory;
		double connections;
		double timers;
		double generations;
	} seen; /* what the gauges say of this worker */
};

/* --- gauges that are this worker's share of the process's ------------------------- */

static void move_gauge(struct worker_service *worker, enum metric_id id, double *seen,
		       double now)
{
	series_add(meter_own(loop_observer(worker->loop)->meter, id, 0), now - *seen);
	*seen = now;
}

static size_t memory_used(const struct worker_service *worker)
{
	size_t used = vm_memory_used(worker->current->api.vm);

	for (struct list *at = worker->draining.next; at != &worker->draining;
	     at = at->next)
		used += vm_memory_used(list_of(at, struct generation, member)->api.vm);
	return used;
}

static void on_measure(void *context)
{
	struct worker_service *worker = context;

	move_gauge(worker, METRIC_vm_memory, &worker->seen.memory,
		   (double)memory_used(worker));
	move_gauge(worker, METRIC_loop_timers, &worker->seen.timers,
		   (double)loop_timers(worker->loop));
	move_gauge(worker, METRIC_http_server_connections, &worker->seen.connections,
		   worker_ports_connections(&worker->ports));
	timer_start(worker->loop, &worker->measure,
		    mono_after_ms(loop_now(worker->loop), MEASURE_MS), on_measure,
		    worker);
}

static void count_generations(struct worker_service *worker)
{
	if (worker->config.first)
		move_gauge(worker, METRIC_generations, &worker->seen.generations,
			   1 + worker->draining_count);
}

/* --- jobs: one that an older generation still runs waits for it ------------------- */

static bool job_is_busy(void *context, struct slice name)
{
	struct worker_service *worker = context;

	for (struct list *at = worker->draining.next; at != &worker->draining;
	     at = at->next)
		if (job_runner_runs(list_of(at, struct generation, member)->jobs, name))
			return true;
	return false;
}

static void job_has_ended(void *context, struct slice name)
{
	struct worker_service *worker = context;

	if (worker->current->jobs)
		job_runner_wake(worker->current->jobs, name);
}

/* --- generations ------------------------------------------------------------------ */

static void end_generation(struct worker_service *worker, struct generation *generation)
{
	list_remove(&generation->member);
	worker->draining_count--;
	generation_destroy(generation);
	count_generations(worker);
}

/* Those that are idle, or late. */
static void end_generations(struct worker_service *worker)
{
	struct mono now = clock_mono();
	struct list *at = worker->draining.next;

	while (at != &worker->draining) {
		struct generation *generation = list_of(at, struct generation, member);

		at = at->next;
		if (generation_idle(generation) || now.ns >= generation->drain_until.ns)
			end_generation(worker, generation);
	}
}

static void on_look_at_generations(void *context)
{
	struct worker_service *worker = context;

	end_generations(worker);
	if (worker->draining_count && !worker->ending)
		timer_start(worker->loop, &worker->generations,
			    mono_after_ms(clock_mono(), DRAIN_LOOK_MS),
			    on_look_at_generations, worker);
}

static void retire(struct worker_service *worker, struct generation *old)
{
	old->drain_until =
		mono_after_ms(clock_mono(), (int64_t)worker->config.conf->drain_ms);
	vm_on_full(old->api.vm, NULL, NULL); /* what fills it goes with it already */
	list_append(&worker->draining, &old->member);
	worker->draining_count++;
	for (struct list *at = worker->draining.next; at != &worker->draining;
	     at = at->next)
		generation_retire(list_of(at, struct generation, member),
				  worker->current);
	if (worker->draining_count > WORKER_DRAINING_MAX)
		end_generations(worker);
	if (worker->draining_count > WORKER_DRAINING_MAX)
		end_generation(worker,
			       list_of(worker->draining.next, struct generation, member));
	/* Not later than it was to be: swaps may follow one another faster than that. */
	if (!timer_started(&worker->generations))
		timer_start(worker->loop, &worker->generations,
			    mono_after_ms(clock_mono(), DRAIN_LOOK_MS),
			    on_look_at_generations, worker);
}

void worker_service_put(struct worker_service *worker, struct generation *generation)
{
	const struct observer *observer = loop_observer(worker->loop);
	struct generation *old = worker->current;

	tracer_set_generation(observer->tracer, generation->number);
	log_set_generation(observer->log, generation->number);
	worker->current = generation;
	generation_adopt(generation, worker->config.wiring,
			 atomic_load(&worker->watchdog),
			 worker->config.first ? &worker->jobs : NULL);
	vm_on_full(generation->api.vm, worker->config.full, worker->config.full_context);
	if (old)
		retire(worker, old);
	else
		on_measure(worker);
	count_generations(worker);
}

struct swap {
	struct mail mail;
	struct worker_service *worker;
	struct generation *generation;
	void (*done)(void *context);
	void *context;
};

static void on_swap(void *context)
{
	struct swap *swap = context;

	if (swap->worker->ending)
		generation_destroy(swap->generation);
	else
		worker_service_put(swap->worker, swap->generation);
	swap->done(swap->context);
	free(swap);
}

void worker_service_swap(struct worker_service *worker, struct generation *generation,
			 void (*done)(void *context), void *context)
{
	struct swap *swap = mem_zeroed(1, sizeof(*swap));

	*swap = (struct swap){ .worker = worker,
			       .generation = generation,
			       .done = done,
			       .context = context };
	loop_post(worker->loop, &swap->mail, on_swap, swap);
}

/* --- serving ---------------------------------------------------------------------- */

static void on_request(void *context, struct http_request *request)
{
	struct worker_service *worker = context;

	if (worker->config.conf->admin_port || !admin_serve(worker->admin, request))
		handler_serve(worker->current->handler, request);
}

/* Where these have a port of their own. */
static void on_operators_request(void *context, struct http_request *request)
{
	struct worker_service *worker = context;

	if (!admin_serve(worker->admin, request))
		handler_serve_admin(worker->current->handler, request);
}

/* Answered by the server itself: a body too large, too many requests. */
static void on_refused(void *context, struct slice scheme, struct slice method,
		       const struct fault *why, char trace_id[33])
{
	struct worker_service *worker = context;

	handler_refused(worker->current->handler, scheme, method, why, trace_id);
}

void worker_service_deliver(struct worker_service *worker, struct slice queue,
			    struct amqp_delivery *delivery)
{
	if (!generation_deliver(worker->current, queue, delivery))
		amqp_settle(worker->config.wiring->api.amqp, delivery, AMQP_retry,
			    GIVE_BACK_MS);
}

/* --- /ready ----------------------------------------------------------------------- */

static void write_generation(void *context, struct json *json)
{
	struct worker_service *worker = context;

	if (!worker->report.size)
		return;
	json_key(json, SLICE("generation"));
	json_raw(json, buf_slice(&worker->report));
}

struct report {
	struct mail mail;
	struct worker_service *worker;
	size_t size;
	char json[];
};

static void on_report(void *context)
{
	struct report *report = context;

	buf_reset(&report->worker->report);
	buf_append(&report->worker->report, slice_of(report->json, report->size));
	free(report);
}

void worker_service_report(struct worker_service *worker, struct slice json)
{
	struct report *report = mem_zeroed(1, sizeof(*report) + json.size);

	report->worker = worker;
	report->size = json.size;
	memcpy(report->json, json.at, json.size);
	loop_post(worker->loop, &report->mail, on_report, report);
}

static void make_admin(struct worker_service *worker)
{
	struct admin_config config = {
		.api = &worker->config.wiring->api,
		.logs = worker->config.logs,
		.shared = worker->config.shared,
		.write_generation = write_generation,
		.generation_context = worker,
		.dialect = strcmp(worker->config.conf->dialect, "micrometer") == 0
				   ? PROMETHEUS_micrometer
				   : PROMETHEUS_default,
	};

	worker->admin = admin_create(&config);
}

struct worker_service *worker_service_create(const struct worker_service_config *config)
{
	struct worker_service *worker = mem_zeroed(1, sizeof(*worker));

	worker->config = *config;
	worker->loop = config->wiring->loop;
	worker->jobs = (struct job_hooks){ job_is_busy, job_has_ended, worker };
	list_init(&worker->draining);
	make_admin(worker);
	return worker;
}

unsigned worker_service_listen(struct worker_service *worker, unsigned port,
			       struct fault *why)
{
	struct worker_ports_config config = { .conf = worker->config.conf,
					      .loop = worker->loop,
					      .first = worker->config.first,
					      .serve = on_request,
					      .serve_operators = on_operators_request,
					      .refused = on_refused,
					      .context = worker };

	return worker_ports_listen(&worker->ports, &config, port, why);
}

struct loop *worker_service_loop(const struct worker_service *worker)
{
	return worker->loop;
}

void worker_service_run(void *context)
{
	struct worker_service *worker = context;
	struct watchdog *watchdog =
		watchdog_create(worker->config.first ? "worker-0" : "worker");

	atomic_store(&worker->watchdog, watchdog);
	vm_watch(worker->current->api.vm, watchdog);
	loop_run(worker->loop);
	atomic_store(&worker->watchdog, NULL);
	vm_watch(worker->current->api.vm, NULL);
	for (struct list *at = worker->draining.next; at != &worker->draining;
	     at = at->next)
		vm_watch(list_of(at, struct generation, member)->api.vm, NULL);
	watchdog_destroy(watchdog);
}

void worker_service_look(struct worker_service *worker)
{
	struct watchdog *watchdog = atomic_load(&worker->watchdog);

	if (watchdog)
		watchdog_stuck(watchdog);
}

/* --- jobs woken from any worker --------------------------------------------------- */

struct wake {
	struct mail mail;
	struct worker_service *worker;
	size_t size;
	char name[];
};

static void on_wake(void *context)
{
	struct wake *wake = context;
	struct generation *current = wake->worker->current;

	if (current && current->jobs)
		job_runner_wake(current->jobs, slice_of(wake->name, wake->size));
	free(wake);
}

void worker_service_wake_job(struct worker_service *worker, struct slice name)
{
	struct wake *wake = mem_zeroed(1, sizeof(*wake) + name.size);

	wake->worker = worker;
	wake->size = name.size;
	memcpy(wake->name, name.at, name.size);
	loop_post(worker->loop, &wake->mail, on_wake, wake);
}

/* --- the end ---------------------------------------------------------------------- */

/* A connection without a request is closed by the drain: what is left is still being
 * sent. */
static bool is_idle(const struct worker_service *worker)
{
	for (struct list *at = worker->draining.next; at != &worker->draining;
	     at = at->next)
		if (!generation_idle(list_of(at, struct generation, member)))
			return false;
	return generation_idle(worker->current) &&
	       wiring_forwarding(worker->config.wiring) == 0 &&
	       socket_hub_count(worker->config.wiring->api.sockets) == 0 &&
	       worker_ports_clients(&worker->ports) == 0;
}

static void on_look(void *context)
{
	struct worker_service *worker = context;
	bool late = clock_mono().ns >= worker->drain_until.ns;

	wiring_close_tunnels(worker->config.wiring); /* one may have opened since */
	if (late || (is_idle(worker) && worker_ports_end(&worker->ports)))
		loop_stop(worker->loop);
	else
		timer_start(worker->loop, &worker->drain,
			    mono_after_ms(loop_now(worker->loop), DRAIN_LOOK_MS), on_look,
			    worker);
}

static void on_drain(void *context)
{
	struct worker_service *worker = context;

	worker->ending = true;
	worker->drain_until =
		mono_after_ms(clock_mono(), (int64_t)worker->config.conf->grace_ms);
	job_runner_stop(worker->current->jobs);
	worker_ports_drain(&worker->ports);
	socket_hub_close_all(worker->config.wiring->api.sockets, GOING_AWAY);
	on_look(worker);
}

static void on_quiesce(void *context)
{
	struct worker_service *worker = context;

	worker_ports_quiesce(&worker->ports);
}

void worker_service_quiesce(struct worker_service *worker)
{
	loop_post(worker->loop, &worker->quiesce_mail, on_quiesce, worker);
}

void worker_service_drain(struct worker_service *worker)
{
	loop_post(worker->loop, &worker->drain_mail, on_drain, worker);
}

void worker_service_stop(struct worker_service *worker)
{
	if (!worker)
		return;
	worker->ending = true;
	timer_stop(worker->loop, &worker->measure);
	timer_stop(worker->loop, &worker->drain);
	timer_stop(worker->loop, &worker->generations);
	if (worker->current)
		job_runner_stop(worker->current->jobs);
	worker_ports_close(&worker->ports);
}

void worker_service_close(struct worker_service *worker)
{
	if (!worker)
		return;
	for (struct list *at = worker->draining.next; at != &worker->draining;
	     at = at->next)
		generation_close(list_of(at, struct generation, member));
	generation_close(worker->current);
}

void worker_service_destroy(struct worker_service *worker)
{
	struct list *member;

	if (!worker)
		return;
	while ((member = list_take(&worker->draining)))
		generation_destroy(list_of(member, struct generation, member));
	generation_destroy(worker->current);
	admin_destroy(worker->admin);
	buf_finish(&worker->report);
	free(worker);
}
