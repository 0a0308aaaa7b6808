/* SPDX-License-Identifier: MIT */
/* export_resource.h -- the attributes that say which process telemetry comes from. */
#ifndef HOST_EXPORT_RESOURCE_H
#define HOST_EXPORT_RESOURCE_H

#include "host/otel.h"

#define EXPORT_RESOURCE_MAX (OTEL_RESOURCE_MAX + 16)

struct export_resource {
	struct arena arena; /* of the texts that are not borrowed from the config */
	struct attr attrs[EXPORT_RESOURCE_MAX]; /* each key once */
	size_t count;
};

/* OTEL_RESOURCE_ATTRIBUTES wins over what we know, key by key. Borrows the config's
 * texts. */
void export_resource_init(struct export_resource *resource,
			  const struct otel_config *config);
void export_resource_finish(struct export_resource *resource);

#endif
