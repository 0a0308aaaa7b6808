/* SPDX-License-Identifier: MIT */
#include "host/generation.h"

#include "api/consumer.h"
#include "api/gate_before.h"
#include "api/handler.h"
#include "api/job.h"
#include "api/service.h"
#include "api/socket.h"
#include "api/socket_feed.h"
#include "base/check.h"
#include "gate/gate.h"
#include "host/conf.h"
#include "host/wiring.h"
#include "loop/loop.h"
#include "script/task.h"
#include "script/vm.h"

#include <stdlib.h>

#define SOCKET_MESSAGE_MAX (64u << 10)

/* --- building --------------------------------------------------------------------- */

static int open_modules(struct lua_State *L)
{
	const struct api *api = vm_call_data(L);

	api_open(L, api);
	return 0;
}

static bool load(struct generation *generation, const struct generation_plan *plan,
		 struct buf *traceback, struct fault *why)
{
	struct vm *vm = generation->api.vm;

	if (vm_call(vm, open_modules, &generation->api, why) < 0)
		return false;
	vm_watch(vm, plan->watchdog);
	generation->service = service_load(vm, plan->conf->service_file, why);
	vm_watch(vm, NULL);
	if (!generation->service)
		buf_append(traceback, vm_traceback(vm));
	return generation->service != NULL;
}

struct generation *generation_build(const struct generation_plan *plan,
				    struct buf *traceback, struct fault *why)
{
	struct generation *generation = mem_zeroed(1, sizeof(*generation));
	struct vm_config config = wiring_vm_config(plan->wiring);

	config.sources = plan->sources;
	list_init(&generation->member);
	generation->number = plan->number;
	generation->conf = plan->conf;
	generation->api = plan->wiring->api;
	generation->api.loop = plan->workshop;
	generation->api.edition = plan->edition;
	generation->api.vm = vm_create(NULL, &config);
	if (load(generation, plan, traceback, why))
		return generation;
	generation_destroy(generation);
	return NULL;
}

/* --- adopting --------------------------------------------------------------------- */

static bool in_production(const struct conf *conf)
{
	return strcmp(conf->mode, "production") == 0;
}

static void make_sockets(struct generation *generation)
{
	const struct api *api = &generation->api;
	struct socket_server_config config = {
		.loop = api->loop,
		.vm = api->vm,
		.hub = api->sockets,
		.service = generation->service,
		.task_timeout_ms = (int)generation->conf->task_timeout_ms,
		.message_size_max = SOCKET_MESSAGE_MAX,
		.production = in_production(generation->conf),
	};

	generation->sockets = socket_server_create(&config);
}

static void make_before(struct generation *generation)
{
	const struct conf *conf = generation->conf;
	struct gate_before_config config = {
		.loop = generation->api.loop,
		.vm = generation->api.vm,
		.generation = generation->number,
		.tasks_max = conf->tasks_max,
		.queue_max = conf->queue_max,
		.task_timeout_ms = (int)conf->task_timeout_ms,
		.production = in_production(conf),
	};

	generation->before = gate_before_create(&config);
}

static void make_handler(struct generation *generation)
{
	const struct conf *conf = generation->conf;
	struct handler_config config = {
		.loop = generation->api.loop,
		.vm = generation->api.vm,
		.service = generation->service,
		.sockets = generation->sockets,
		.generation = generation->number,
		.tasks_max = conf->tasks_max,
		.queue_max = conf->queue_max,
		.task_timeout_ms = (int)conf->task_timeout_ms,
		.production = in_production(conf),
		.admin_apart = conf->admin_port != 0,
		.gate = generation->service->plan ? generation->api.gate : NULL,
	};

	if (generation->before)
		config.hooks = gate_before_hooks(generation->before);
	generation->handler = handler_create(&config);
}

static void make_consumers(struct generation *generation)
{
	const struct api *api = &generation->api;
	const struct service *service = generation->service;

	generation->consumers =
		mem_zeroed(service->consumer_count + 1, sizeof(*generation->consumers));
	for (size_t i = 0; i < service->consumer_count; i++)
		generation->consumers[i] = consumer_create(api->loop, api->vm, api->amqp,
							   &service->consumers[i]);
}

/* One without a plan forwards to nobody; an earlier one may have. */
static void use_gate(struct generation *generation, struct wiring *wiring)
{
	struct gate_plan *plan = generation->service->plan, none = { 0 };

	if (plan)
		generation->api.gate = wiring_gate(wiring);
	if (wiring->api.gate)
		gate_use(wiring->api.gate, plan ? plan : &none);
	if (plan)
		make_before(generation);
}

void generation_adopt(struct generation *generation, struct wiring *wiring,
		      struct watchdog *watchdog, const struct job_hooks *hooks)
{
	struct loop *loop = wiring->loop;

	generation->api.loop = loop;
	vm_bind(generation->api.vm, loop);
	vm_watch(generation->api.vm, watchdog);
	make_sockets(generation);
	use_gate(generation, wiring);
	make_handler(generation);
	make_consumers(generation);
	if (hooks)
		generation->jobs = job_runner_create(loop, generation->api.vm,
						     generation->service, hooks);
	if (hooks && generation->api.feed && generation->service->socket_count > 0)
		socket_feed_listen(generation->api.feed);
}

/* --- in service ------------------------------------------------------------------- */

bool generation_deliver(struct generation *generation, struct slice queue,
			struct amqp_delivery *delivery)
{
	const struct service *service = generation->service;

	for (size_t i = 0; i < service->consumer_count; i++) {
		if (!slice_equal(service->consumers[i].queue, queue))
			continue;
		consumer_deliver(generation->consumers[i], delivery);
		return true;
	}
	return false;
}

void generation_retire(struct generation *generation, struct generation *next)
{
	job_runner_stop(generation->jobs);
	socket_server_move(generation->sockets, next->sockets);
}

static bool consumers_idle(const struct generation *generation)
{
	for (size_t i = 0; i < generation->service->consumer_count; i++)
		if (!consumer_idle(generation->consumers[i]))
			return false;
	return true;
}

bool generation_idle(const struct generation *generation)
{
	const struct gate_plan *plan = generation->service->plan;

	return task_count(generation->api.vm) == 0 && handler_idle(generation->handler) &&
	       (!plan || plan->passages == 0) &&
	       socket_server_idle(generation->sockets) &&
	       (!generation->jobs || job_runner_idle(generation->jobs)) &&
	       consumers_idle(generation);
}

/* --- the end ---------------------------------------------------------------------- */

void generation_close(struct generation *generation)
{
	if (!generation)
		return;
	if (generation->jobs)
		job_runner_stop(generation->jobs);
	vm_destroy(generation->api.vm);
	generation->api.vm = NULL;
	gate_before_destroy(generation->before);
	generation->before = NULL;
}

void generation_destroy(struct generation *generation)
{
	if (!generation)
		return;
	generation_close(generation);
	if (generation->consumers)
		for (size_t i = 0; i < generation->service->consumer_count; i++)
			consumer_destroy(generation->consumers[i]);
	free(generation->consumers);
	job_runner_destroy(generation->jobs);
	socket_server_destroy(generation->sockets);
	handler_destroy(generation->handler);
	service_destroy(generation->service);
	list_remove(&generation->member);
	free(generation);
}
