/* SPDX-License-Identifier: MIT */
#include "host/export_resource.h"

#include "base/random.h"

#include <stdio.h>
#include <unistd.h>

/* Does nothing when the key is there already: the environment comes first. */
static void add(struct export_resource *resource, struct attr attr)
{
	for (size_t i = 0; i < resource->count; i++)
		if (slice_equal(resource->attrs[i].key, attr.key))
			return;
	if (resource->count < EXPORT_RESOURCE_MAX)
		resource->attrs[resource->count++] = attr;
}

/* A random UUID, version 4. */
static struct slice new_instance(struct arena *arena)
{
	uint8_t bytes[16];
	char text[37];
	size_t at = 0;

	random_secure(bytes, sizeof(bytes));
	bytes[6] = (uint8_t)((bytes[6] & 0x0f) | 0x40);
	bytes[8] = (uint8_t)((bytes[8] & 0x3f) | 0x80);
	for (size_t i = 0; i < sizeof(bytes); i++) {
		if (i == 4 || i == 6 || i == 8 || i == 10)
			text[at++] = '-';
		snprintf(text + at, 3, "%02x", bytes[i]);
		at += 2;
	}
	return arena_copy(arena, slice_of(text, at));
}

void export_resource_init(struct export_resource *resource,
			  const struct otel_config *config)
{
	char name[256] = "";

	*resource = (struct export_resource){ 0 };
	for (size_t i = 0; i < config->resource_count; i++)
		add(resource, config->resource[i]);
	gethostname(name, sizeof(name) - 1);
	add(resource, attr_text(SLICE("service.name"), config->service_name));
	add(resource, attr_text(SLICE("service.version"), SLICE(ORRERY_VERSION)));
	add(resource,
	    attr_text(SLICE("service.instance.id"), new_instance(&resource->arena)));
	if (config->environment.size > 0)
		add(resource,
		    attr_text(SLICE("deployment.environment.name"), config->environment));
	add(resource, attr_text(SLICE("telemetry.sdk.name"), SLICE("orrery")));
	add(resource, attr_text(SLICE("telemetry.sdk.language"), SLICE("lua")));
	add(resource, attr_text(SLICE("telemetry.sdk.version"), SLICE(ORRERY_VERSION)));
	if (*name)
		add(resource, attr_text(SLICE("host.name"),
					arena_copy(&resource->arena, slice_text(name))));
	add(resource, attr_text(SLICE("os.type"), SLICE("linux")));
	add(resource, attr_integer(SLICE("process.pid"), getpid()));
	add(resource, attr_text(SLICE("process.runtime.name"), SLICE("LuaJIT")));
}

void export_resource_finish(struct export_resource *resource)
{
	arena_finish(&resource->arena);
	resource->count = 0;
}
