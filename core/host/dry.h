/* SPDX-License-Identifier: MIT */
/* dry.h -- a service's VM without stores and without the network: for commands that look
 * at a service and do not serve it.
 */
#ifndef HOST_DRY_H
#define HOST_DRY_H

#include "host/conf.h"
#include "host/otel.h"
#include "host/wiring.h"

struct watchdog;

struct dry {
	struct conf conf;
	struct otel_config otel;
	struct wiring_shared shared;
	struct wiring wiring;
	struct watchdog *watchdog;
};

enum dry_kind {
	DRY_service,
	DRY_library, /* and tests: native.test is there */
	DRY_script, /* for orrery run: print is there */
};

/* spec: of a service, as in conf_load; else NULL. The environment says where the root is.
 * dry_close is due in any case. */
bool dry_open(struct dry *dry, enum dry_kind kind, const char *spec, struct fault *why);
void dry_close(struct dry *dry);

#endif
