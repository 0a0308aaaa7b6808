/* SPDX-License-Identifier: MIT */
#include "host/admin.h"

#include "api/api.h"
#include "base/check.h"
#include "base/json.h"
#include "host/process.h"
#include "http/request.h"
#include "http/request_record.h"
#include "loop/loop.h"
#include "store/amqp.h"
#include "store/pg_pool.h"
#include "store/redis_pool.h"
#include "watch/log.h"
#include "watch/metrics.h"

#include <stdlib.h>

enum { DEPENDENCY_postgres, DEPENDENCY_redis, DEPENDENCY_rabbitmq, DEPENDENCIES };

static const char *const dependency_names[] = { "postgres", "redis", "rabbitmq" };

struct admin {
	struct admin_config config;
	struct buf text;
};

/* One /ready on its way. */
struct readiness {
	struct admin *admin;
	struct http_request *request; /* NULL when the client left */
	struct deferred finish;
	int left;
	struct part {
		struct readiness *readiness;
		bool asked;
		struct fault why; /* FAULT_none: it is there */
	} parts[DEPENDENCIES];
};

static struct slice known_method(const struct http_request *request)
{
	return slice_equal(http_request_method(request), SLICE("HEAD")) ? SLICE("HEAD")
									: SLICE("GET");
}

static void respond(struct admin *admin, struct http_request *request,
		    struct slice endpoint, int status, struct slice type,
		    struct slice body)
{
	struct http_header header = { SLICE("content-type"), type };
	struct slice method = known_method(request);
	struct mono began = http_request_began(request);

	http_respond(request, status, &header, 1, body);
	request_record_count(loop_observer(admin->config.api->loop), method, endpoint,
			     status, mono_seconds(began, clock_mono()));
}

/* --- /metrics --------------------------------------------------------------------- */

/* How far a total went beyond what is counted. Whoever comes late with an older one adds
 * nothing. */
static double take_step(_Atomic double *counted, double total)
{
	double before = atomic_load(counted);

	while (total > before)
		if (atomic_compare_exchange_weak(counted, &before, total))
			return total - before;
	return 0;
}

void admin_count_process(struct admin_shared *shared, const struct log_hub *logs,
			 struct meter *meter)
{
	double cpu = process_measure(meter);
	double dropped = (double)log_hub_dropped(logs);

	series_add(meter_own(meter, METRIC_process_cpu, 0),
		   take_step(&shared->cpu_seconds, cpu));
	series_add(meter_own(meter, METRIC_log_dropped, 0),
		   take_step(&shared->logs_dropped, dropped));
}

static void serve_metrics(struct admin *admin, struct http_request *request,
			  struct slice endpoint)
{
	enum prometheus_format format =
		prometheus_negotiate(http_request_header(request, SLICE("accept")));

	admin_count_process(admin->config.shared, admin->config.logs,
			    loop_observer(admin->config.api->loop)->meter);
	buf_reset(&admin->text);
	prometheus_write(&admin->text, admin->config.api->metrics, format,
			 admin->config.dialect);
	respond(admin, request, endpoint, 200, prometheus_content_type(format),
		buf_slice(&admin->text));
}

/* --- /ready ----------------------------------------------------------------------- */

static void write_readiness(const struct readiness *readiness, bool ready, bool draining,
			    struct buf *out)
{
	const struct admin_config *config = &readiness->admin->config;
	struct json json = json_to(out);

	json_open_object(&json);
	json_key(&json, SLICE("status"));
	json_string(&json, draining ? SLICE("draining")
			   : ready  ? SLICE("ready")
				    : SLICE("unready"));
	json_key(&json, SLICE("dependencies"));
	json_open_array(&json);
	for (int i = 0; i < DEPENDENCIES; i++) {
		const struct part *part = &readiness->parts[i];

		if (!part->asked)
			continue;
		json_open_object(&json);
		json_key(&json, SLICE("name"));
		json_string(&json, slice_text(dependency_names[i]));
		json_key(&json, SLICE("status"));
		json_string(&json, part->why.kind ? SLICE("down") : SLICE("up"));
		if (part->why.kind) {
			json_key(&json, SLICE("kind"));
			json_string(&json, slice_text(fault_name(part->why.kind)));
			json_key(&json, SLICE("detail"));
			json_string(&json, slice_text(part->why.detail));
		}
		json_close_object(&json);
	}
	json_close_array(&json);
	if (config->write_generation)
		config->write_generation(config->generation_context, &json);
	json_close_object(&json);
}

/* Without Redis the limits of a gateway go on, each worker's by itself. */
static bool is_needed(const struct admin *admin, int dependency)
{
	return dependency != DEPENDENCY_redis || !admin->config.api->gate;
}

static void on_finish(void *context)
{
	struct readiness *readiness = context;
	struct admin *admin = readiness->admin;
	bool draining = atomic_load(&admin->config.shared->draining);
	bool ready = !draining;

	for (int i = 0; i < DEPENDENCIES; i++)
		ready = ready && (readiness->parts[i].why.kind == FAULT_none ||
				  !is_needed(admin, i));
	buf_reset(&admin->text);
	write_readiness(readiness, ready, draining, &admin->text);
	if (readiness->request)
		respond(admin, readiness->request, SLICE("/ready"), ready ? 200 : 503,
			SLICE("application/json"), buf_slice(&admin->text));
	free(readiness);
}

static void on_gone(void *context)
{
	struct readiness *readiness = context;

	readiness->request = NULL;
}

/* One dependency has answered. Deferred, so that nobody is answered inside the last one's
 * callback; when nobody waits any more (the loop may not run any more either), at once.
 */
static void part_done(struct part *part, const struct fault *why)
{
	struct readiness *readiness = part->readiness;

	if (why)
		part->why = *why;
	if (--readiness->left > 0)
		return;
	if (!readiness->request)
		free(readiness);
	else
		loop_defer(readiness->admin->config.api->loop, &readiness->finish,
			   on_finish, readiness);
}

static void on_postgres(void *context, const struct pg_result *result,
			const struct fault *why, const struct pg_error *error)
{
	part_done(context, why);
}

static void on_redis(void *context, const struct redis_value *value,
		     const struct fault *why)
{
	part_done(context, why);
}

static void serve_ready(struct admin *admin, struct http_request *request)
{
	static const struct slice ping = { "PING", 4 };
	const struct api *api = admin->config.api;
	struct readiness *readiness = mem_zeroed(1, sizeof(*readiness));
	struct mono deadline = mono_after_ms(clock_mono(), READY_TIMEOUT_MS);
	struct pg_query probe = { .sql = SLICE("SELECT 1"), .deadline = deadline };
	struct part *parts = readiness->parts;
	struct fault why;

	readiness->admin = admin;
	readiness->request = request;
	readiness->left = 1; /* this function */
	for (int i = 0; i < DEPENDENCIES; i++)
		parts[i].readiness = readiness;
	http_request_on_gone(request, on_gone, readiness);
	if (api->pg) {
		parts[DEPENDENCY_postgres].asked = true;
		readiness->left++;
		pg_pool_query(api->pg, &probe, on_postgres, &parts[DEPENDENCY_postgres]);
	}
	if (api->redis) {
		parts[DEPENDENCY_redis].asked = true;
		readiness->left++;
		redis_pool_command(api->redis, &ping, 1, deadline, NULL, on_redis,
				   &parts[DEPENDENCY_redis]);
	}
	if (api->amqp) {
		parts[DEPENDENCY_rabbitmq].asked = true;
		if (!amqp_healthy(api->amqp, &why))
			parts[DEPENDENCY_rabbitmq].why = why;
	}
	part_done(&parts[DEPENDENCIES - 1], NULL);
}

/* --- which is it ------------------------------------------------------------------ */

bool admin_serve(struct admin *admin, struct http_request *request)
{
	struct slice method = http_request_method(request);
	struct slice path = http_request_path(request);

	if (!slice_equal(method, SLICE("GET")) && !slice_equal(method, SLICE("HEAD")))
		return false;
	if (slice_equal(path, SLICE("/health")))
		respond(admin, request, SLICE("/health"), 200, SLICE("application/json"),
			SLICE("{\"status\":\"ok\"}"));
	else if (slice_equal(path, SLICE("/ready")))
		serve_ready(admin, request);
	else if (slice_equal(path, SLICE("/metrics")))
		serve_metrics(admin, request, SLICE("/metrics"));
	else if (admin->config.dialect == PROMETHEUS_micrometer &&
		 slice_equal(path, SLICE("/actuator/prometheus")))
		serve_metrics(admin, request, SLICE("/actuator/prometheus"));
	else
		return false;
	return true;
}

struct admin *admin_create(const struct admin_config *config)
{
	struct admin *admin = mem_zeroed(1, sizeof(*admin));

	admin->config = *config;
	return admin;
}

void admin_destroy(struct admin *admin)
{
	if (!admin)
		return;
	buf_finish(&admin->text);
	free(admin);
}
