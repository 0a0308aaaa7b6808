/* SPDX-License-Identifier: MIT */
#include "host/dry.h"

#include "api/script_run.h"
#include "api/settings.h"
#include "base/check.h"
#include "loop/worker.h"
#include "script/watchdog.h"
#include "watch/log.h"
#include "watch/metrics.h"

#include <stdlib.h>

#define HELPER_QUEUE_MAX 16
#define DRY_JWT_SECRET "nothing is signed here"

static const char *no_variable(void *context, const char *name)
{
	return NULL;
}

static void clear(char **text)
{
	free(*text);
	*text = mem_copy("", 0);
}

static int open_testing(struct lua_State *L)
{
	const struct api *api = vm_call_data(L);

	api_open_testing(L, api);
	return 0;
}

static bool open_vm(struct dry *dry, enum dry_kind kind, struct fault *why)
{
	struct vm *vm;

	if (!wiring_init(&dry->wiring, &dry->shared, why) ||
	    !wiring_open(&dry->wiring, why))
		return false;
	vm = dry->wiring.api.vm;
	vm_watch(vm, dry->watchdog);
	if (kind == DRY_library)
		return vm_call(vm, open_testing, &dry->wiring.api, why) >= 0;
	return kind == DRY_service || script_run_open(vm, why);
}

bool dry_open(struct dry *dry, enum dry_kind kind, const char *spec, struct fault *why)
{
	*dry = (struct dry){ 0 };
	if (!conf_load(&dry->conf, spec, NULL, 0, why) ||
	    !otel_config_read(&dry->otel, SLICE("dry"), no_variable, NULL, why))
		return false;
	clear(&dry->conf.postgres_url);
	clear(&dry->conf.redis_url);
	clear(&dry->conf.amqp_url);
	settings_set_text(dry->conf.shown, SLICE("jwt_secret"), SLICE(DRY_JWT_SECRET));
	dry->shared.conf = &dry->conf;
	dry->shared.otel = &dry->otel;
	dry->shared.logs = log_hub_create(LOG_error, NULL, NULL);
	dry->shared.metrics = metrics_create();
	dry->shared.helper = helper_create(1, HELPER_QUEUE_MAX);
	dry->watchdog = watchdog_create("main");
	return open_vm(dry, kind, why);
}

void dry_close(struct dry *dry)
{
	if (dry->wiring.loop)
		wiring_stop(&dry->wiring);
	helper_destroy(dry->shared.helper); /* its work posts to the loop */
	if (dry->wiring.loop)
		wiring_finish(&dry->wiring);
	watchdog_destroy(dry->watchdog);
	log_hub_destroy(dry->shared.logs);
	if (dry->shared.metrics)
		metrics_destroy(dry->shared.metrics);
	otel_config_finish(&dry->otel);
	conf_finish(&dry->conf);
}
