/* SPDX-License-Identifier: MIT */
#include "host/worker_service.h"

#include "api/consumer.h"
#include "api/handler.h"
#include "api/job.h"
#include "api/service.h"
#include "api/socket.h"
#include "api/socket_hub.h"
#include "base/check.h"
#include "host/admin.h"
#include "host/conf.h"
#include "host/wiring.h"
#include "http/request.h"
#include "http/server.h"
#include "loop/loop.h"
#include "script/task.h"
#include "script/vm.h"
#include "store/amqp.h"
#include "watch/metrics.h"

#include <stdlib.h>

#define MEASURE_MS 1000
#define DRAIN_LOOK_MS 10
#define SOCKET_MESSAGE_MAX (64u << 10)
#define GOING_AWAY 1001 /* RFC 6455, 7.4.1 */

struct worker_service {
	struct worker_service_config config;
	struct loop *loop;
	struct service *service;
	struct handler *handler;
	struct socket_server *sockets;
	struct http_server *server;
	struct job_runner *jobs;
	struct consumer **consumers;
	struct admin *admin;
	struct timer measure;
	struct timer drain;
	struct mail drain_mail;
	struct mono drain_until;
	struct {
		double memory;
		double connections;
	} seen; /* what the gauges say of this worker */
};

/* --- gauges that are this worker's share of the process's ------------------------- */

static void move_gauge(struct worker_service *worker, enum metric_id id, double *seen,
		       double now)
{
	series_add(meter_own(loop_observer(worker->loop)->meter, id, 0), now - *seen);
	*seen = now;
}

static void on_measure(void *context)
{
	struct worker_service *worker = context;

	move_gauge(worker, METRIC_vm_memory, &worker->seen.memory,
		   (double)vm_memory_used(worker->config.wiring->api.vm));
	if (worker->server)
		move_gauge(worker, METRIC_http_server_connections,
			   &worker->seen.connections,
			   http_server_connections(worker->server));
	timer_start(worker->loop, &worker->measure,
		    mono_after_ms(loop_now(worker->loop), MEASURE_MS), on_measure,
		    worker);
}

/* --- serving ---------------------------------------------------------------------- */

static void on_request(void *context, struct http_request *request)
{
	struct worker_service *worker = context;

	if (!admin_serve(worker->admin, request))
		handler_serve(worker->handler, request);
}

/* Answered by the server itself: a body too large, too many requests. */
static void on_refused(void *context, struct slice method, const struct fault *why,
		       char trace_id[33])
{
	struct worker_service *worker = context;

	handler_refused(worker->handler, method, why, trace_id);
}

static void make_sockets(struct worker_service *worker)
{
	const struct api *api = &worker->config.wiring->api;
	struct socket_server_config config = {
		.loop = worker->loop,
		.vm = api->vm,
		.hub = api->sockets,
		.task_timeout_ms = (int)worker->config.conf->task_timeout_ms,
		.message_size_max = SOCKET_MESSAGE_MAX,
		.production = strcmp(worker->config.conf->mode, "production") == 0,
	};

	worker->sockets = socket_server_create(&config);
}

static void make_handler(struct worker_service *worker)
{
	const struct conf *conf = worker->config.conf;
	struct handler_config config = {
		.loop = worker->loop,
		.vm = worker->config.wiring->api.vm,
		.service = worker->service,
		.sockets = worker->sockets,
		.tasks_max = conf->tasks_max,
		.task_timeout_ms = (int)conf->task_timeout_ms,
		.production = strcmp(conf->mode, "production") == 0,
	};

	worker->handler = handler_create(&config);
}

static void make_admin(struct worker_service *worker)
{
	struct admin_config config = {
		.api = &worker->config.wiring->api,
		.handler = worker->handler,
		.logs = worker->config.logs,
		.shared = worker->config.shared,
		.dialect = strcmp(worker->config.conf->dialect, "micrometer") == 0
				   ? PROMETHEUS_micrometer
				   : PROMETHEUS_default,
	};

	worker->admin = admin_create(&config);
}

static void make_consumers(struct worker_service *worker)
{
	const struct api *api = &worker->config.wiring->api;
	const struct service *service = worker->service;

	worker->consumers =
		mem_zeroed(service->consumer_count + 1, sizeof(*worker->consumers));
	for (size_t i = 0; i < service->consumer_count; i++)
		worker->consumers[i] = consumer_create(worker->loop, api->vm, api->amqp,
						       &service->consumers[i]);
}

struct worker_service *worker_service_create(const struct worker_service_config *config,
					     struct fault *why)
{
	struct worker_service *worker = mem_zeroed(1, sizeof(*worker));
	const struct api *api = &config->wiring->api;

	worker->config = *config;
	worker->loop = config->wiring->loop;
	worker->service = service_load(api->vm, config->conf->service_file, why);
	if (!worker->service) {
		free(worker);
		return NULL;
	}
	make_sockets(worker);
	make_handler(worker);
	make_admin(worker);
	make_consumers(worker);
	if (config->first)
		worker->jobs = job_runner_create(worker->loop, api->vm, worker->service);
	on_measure(worker);
	return worker;
}

unsigned worker_service_listen(struct worker_service *worker, unsigned port,
			       struct fault *why)
{
	const struct conf *conf = worker->config.conf;
	struct http_server_config config = {
		.host = slice_text(conf->host),
		.port = port,
		.body_size_max = conf->body_size_max,
		.requests_max = conf->tasks_max,
		.connections_max = conf->connections_max,
		.idle_timeout_ms = (int)conf->idle_timeout_ms,
		.request_timeout_ms = (int)conf->request_timeout_ms,
		.handler = on_request,
		.refused = on_refused,
		.context = worker,
	};

	worker->server =
		http_server_create(worker->loop, &config, worker->config.first, why);
	return worker->server ? http_server_port(worker->server) : 0;
}

const struct service *worker_service_of(const struct worker_service *worker)
{
	return worker->service;
}

struct amqp_receiver worker_service_receiver(struct worker_service *worker, size_t index)
{
	return (struct amqp_receiver){ worker->loop, consumer_deliver,
				       worker->consumers[index] };
}

void worker_service_run(void *context)
{
	struct worker_service *worker = context;

	loop_run(worker->loop);
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

	if (wake->worker->jobs)
		job_runner_wake(wake->worker->jobs, slice_of(wake->name, wake->size));
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
	const struct api *api = &worker->config.wiring->api;

	return task_count(api->vm) == 0 && socket_hub_count(api->sockets) == 0 &&
	       (!worker->server || http_server_connections(worker->server) == 0);
}

static void on_look(void *context)
{
	struct worker_service *worker = context;

	if (is_idle(worker) || clock_mono().ns >= worker->drain_until.ns)
		loop_stop(worker->loop);
	else
		timer_start(worker->loop, &worker->drain,
			    mono_after_ms(loop_now(worker->loop), DRAIN_LOOK_MS), on_look,
			    worker);
}

static void on_drain(void *context)
{
	struct worker_service *worker = context;

	worker->drain_until =
		mono_after_ms(clock_mono(), (int64_t)worker->config.conf->grace_ms);
	job_runner_stop(worker->jobs);
	if (worker->server)
		http_server_drain(worker->server);
	socket_hub_close_all(worker->config.wiring->api.sockets, GOING_AWAY);
	on_look(worker);
}

void worker_service_drain(struct worker_service *worker)
{
	loop_post(worker->loop, &worker->drain_mail, on_drain, worker);
}

void worker_service_stop(struct worker_service *worker)
{
	if (!worker)
		return;
	timer_stop(worker->loop, &worker->measure);
	timer_stop(worker->loop, &worker->drain);
	job_runner_stop(worker->jobs);
	http_server_destroy(worker->server);
	worker->server = NULL;
}

void worker_service_destroy(struct worker_service *worker)
{
	if (!worker)
		return;
	for (size_t i = 0; i < worker->service->consumer_count; i++)
		consumer_destroy(worker->consumers[i]);
	free(worker->consumers);
	job_runner_destroy(worker->jobs);
	admin_destroy(worker->admin);
	socket_server_destroy(worker->sockets);
	handler_destroy(worker->handler);
	service_destroy(worker->service);
	free(worker);
}
