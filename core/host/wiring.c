/* SPDX-License-Identifier: MIT */
#include "host/wiring.h"

#include "api/settings.h"
#include "api/socket_feed.h"
#include "api/socket_hub.h"
#include "base/random.h"
#include "gate/gate.h"
#include "host/conf.h"
#include "host/otel.h"
#include "http/client.h"
#include "loop/loop.h"
#include "script/vm.h"
#include "stock/reserve.h"
#include "store/amqp.h"
#include "store/pg_pool.h"
#include "store/redis_pool.h"
#include "watch/log.h"
#include "watch/metrics.h"
#include "watch/trace.h"

#include <stdlib.h>

#define LOG_RING_BYTES (2u << 20)
#define SPAN_RING_BYTES (1u << 20)
#define AMQP_LOG_RING_BYTES (64u << 10)
#define AMQP_WAITING_MAX 4096
#define AMQP_CONNECT_TIMEOUT_MS 3000
#define AMQP_HEARTBEAT_S 10
#define AMQP_DELIVERY_LIMIT 10
#define POOL_WAITING_MAX 1024
#define POOL_PIPELINE_MAX 8
#define CONNECT_TIMEOUT_MS 2000
#define UPSTREAM_CONNECTIONS_MAX 64
#define UPSTREAM_IDLE_TIMEOUT_MS 15000
#define UPSTREAM_ANSWER_MAX (8u << 20)
#define STOCK_BATCH_MAX 64
#define STOCK_LANES 2

static bool open_postgres(struct wiring *wiring, const struct conf *conf,
			  struct fault *why)
{
	struct pg_pool_config config = {
		.url = conf->postgres_url,
		.size_max = conf->postgres_connections,
		.waiting_max = POOL_WAITING_MAX,
		.pipeline_max = POOL_PIPELINE_MAX,
		.connect_timeout_ms = CONNECT_TIMEOUT_MS,
	};
	struct stock_config stock = {
		.batch_max = STOCK_BATCH_MAX,
		.waiting_max = POOL_WAITING_MAX,
		.lanes = STOCK_LANES,
	};

	if (!*conf->postgres_url)
		return true;
	wiring->api.pg = pg_pool_create(wiring->loop, &config, why);
	if (!wiring->api.pg)
		return false;
	wiring->api.stock = stock_create(wiring->loop, wiring->api.pg, &stock);
	return true;
}

static bool open_redis(struct wiring *wiring, const struct conf *conf, struct fault *why)
{
	struct redis_pool_config config = {
		.url = conf->redis_url,
		.waiting_max = POOL_WAITING_MAX,
		.connect_timeout_ms = CONNECT_TIMEOUT_MS,
	};

	if (!*conf->redis_url)
		return true;
	wiring->api.redis = redis_pool_create(wiring->loop, &config, why);
	return wiring->api.redis != NULL;
}

static void open_http(struct wiring *wiring)
{
	struct http_client_config config = {
		.connections_max = UPSTREAM_CONNECTIONS_MAX,
		.idle_max = UPSTREAM_CONNECTIONS_MAX,
		.idle_timeout_ms = UPSTREAM_IDLE_TIMEOUT_MS,
		.connect_timeout_ms = CONNECT_TIMEOUT_MS,
		.waiting_max = POOL_WAITING_MAX,
		.response_size_max = UPSTREAM_ANSWER_MAX,
	};

	wiring->api.http = http_client_create(wiring->loop, &config);
}

static void make_observer(struct wiring *wiring, const struct wiring_shared *shared)
{
	struct tracer_config config = otel_tracer_config(shared->otel, SPAN_RING_BYTES);
	uint64_t seed;

	random_secure(&seed, sizeof(seed));
	wiring->observer.log = log_create(shared->logs, LOG_RING_BYTES);
	wiring->observer.meter = meter_create(shared->metrics);
	wiring->observer.tracer = tracer_create(&config, seed);
}

static struct observer observe_thread(const struct wiring_shared *shared)
{
	return (struct observer){ log_create(shared->logs, AMQP_LOG_RING_BYTES),
				  meter_create(shared->metrics), NULL };
}

bool wiring_amqp_open(struct wiring_amqp *wiring, const struct wiring_shared *shared,
		      struct fault *why)
{
	struct amqp_config config = {
		.url = shared->conf->amqp_url,
		.name = shared->conf->service,
		.waiting_max = AMQP_WAITING_MAX,
		.connect_timeout_ms = AMQP_CONNECT_TIMEOUT_MS,
		.heartbeat_s = AMQP_HEARTBEAT_S,
		.delivery_limit = AMQP_DELIVERY_LIMIT,
		.publisher = &wiring->publisher,
		.consumer = &wiring->consumer,
	};

	if (!*shared->conf->amqp_url)
		return true;
	wiring->publisher = observe_thread(shared);
	wiring->consumer = observe_thread(shared);
	wiring->amqp = amqp_create(&config, why);
	return wiring->amqp != NULL;
}

bool wiring_init(struct wiring *wiring, const struct wiring_shared *shared,
		 struct fault *why)
{
	const struct conf *conf = shared->conf;

	*wiring = (struct wiring){ 0 };
	make_observer(wiring, shared);
	wiring->loop = loop_create(&wiring->observer, &wiring->chaos);
	wiring->lib_dir = conf_path(conf->root, "lib", NULL, NULL);
	wiring->conf = conf;
	wiring->api.loop = wiring->loop;
	wiring->api.metrics = shared->metrics;
	wiring->api.helper = shared->helper;
	wiring->api.sockets = socket_hub_create(wiring->loop);
	wiring->api.push_setting = settings_push;
	wiring->api.push_setting_context = conf->shown;
	open_http(wiring);
	if (open_postgres(wiring, conf, why) && open_redis(wiring, conf, why))
		return true;
	wiring_finish(wiring);
	return false;
}

void wiring_open_feed(struct wiring *wiring, const char *origin)
{
	struct socket_feed_config config = {
		.loop = wiring->loop,
		.hub = wiring->api.sockets,
		.redis = wiring->api.redis,
		.redis_url = wiring->conf->redis_url,
		.lab = slice_text(wiring->conf->lab),
		.service = slice_text(wiring->conf->service),
		.origin = slice_text(origin),
	};

	if (config.redis)
		wiring->api.feed = socket_feed_create(&config);
}

struct gate *wiring_gate(struct wiring *wiring)
{
	struct gate_config config = { .loop = wiring->loop,
				      .redis = wiring->api.redis };

	if (!wiring->api.gate)
		wiring->api.gate = gate_create(&config);
	return wiring->api.gate;
}

unsigned wiring_forwarding(const struct wiring *wiring)
{
	return wiring->api.gate ? gate_busy(wiring->api.gate) : 0;
}

void wiring_close_tunnels(struct wiring *wiring)
{
	if (wiring->api.gate)
		gate_close_tunnels(wiring->api.gate);
}

static int open_modules(struct lua_State *L)
{
	const struct api *api = vm_call_data(L);

	api_open(L, api);
	return 0;
}

struct vm_config wiring_vm_config(const struct wiring *wiring)
{
	return (struct vm_config){
		.memory_max = (size_t)wiring->conf->memory_max_mb << 20,
		.cpu_ms = (int)wiring->conf->cpu_ms,
		.lib_dir = wiring->lib_dir,
		.service_dir = wiring->conf->service_dir,
	};
}

bool wiring_open(struct wiring *wiring, struct fault *why)
{
	struct vm_config config = wiring_vm_config(wiring);

	wiring->api.vm = vm_create(wiring->loop, &config);
	return vm_call(wiring->api.vm, open_modules, &wiring->api, why) >= 0;
}

void wiring_stop(struct wiring *wiring)
{
	struct api *api = &wiring->api;

	stock_destroy(api->stock);
	pg_pool_destroy(api->pg);
	redis_pool_destroy(api->redis);
	socket_feed_destroy(api->feed);
	http_client_destroy(api->http);
	api->stock = NULL;
	api->pg = NULL;
	api->redis = NULL;
	api->feed = NULL;
	api->http = NULL;
	vm_destroy(api->vm);
	api->vm = NULL;
}

void wiring_unloop(struct wiring *wiring)
{
	wiring_stop(wiring);
	gate_destroy(wiring->api.gate);
	wiring->api.gate = NULL;
	loop_destroy(wiring->loop);
	wiring->loop = wiring->api.loop = NULL;
}

void wiring_finish(struct wiring *wiring)
{
	wiring_unloop(wiring);
	socket_hub_destroy(wiring->api.sockets);
	tracer_destroy(wiring->observer.tracer);
	free(wiring->lib_dir);
	*wiring = (struct wiring){ 0 };
}
