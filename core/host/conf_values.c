/* SPDX-License-Identifier: MIT */
#include "host/conf_values.h"

#include "host/conf.h"
#include "http/address_set.h"

static bool one_of(const char *name, const char *value, const char *const *allowed,
		   struct fault *why)
{
	for (size_t i = 0; allowed[i]; i++)
		if (strcmp(value, allowed[i]) == 0)
			return true;
	return fault_set(why, FAULT_bad_input, "%s cannot be '%s'", name, value);
}

static bool words_good(const struct conf *conf, struct fault *why)
{
	static const char *const dialects[] = { "default", "micrometer", NULL };
	static const char *const log_dialects[] = { "default", "trio", "python", "zap",
						    "clef",    "pino", NULL };
	static const char *const modes[] = { "development", "production", NULL };
	static const char *const levels[] = { "debug", "info", "warn", "error", NULL };
	static const char *const reloads[] = { "watch", "signal", NULL };

	return one_of("dialect", conf->dialect, dialects, why) &&
	       one_of("mode", conf->mode, modes, why) &&
	       one_of("log_dialect", conf->log_dialect, log_dialects, why) &&
	       one_of("log_level", conf->log_level, levels, why) &&
	       one_of("reload", conf->reload, reloads, why);
}

static bool proxies_good(const struct conf *conf, struct fault *why)
{
	struct fault reason;
	struct address_set *set =
		address_set_create(slice_text(conf->trusted_proxies), &reason);

	if (!set)
		return fault_set(why, FAULT_bad_input, "trusted_proxies: %s",
				 reason.detail);
	address_set_destroy(set);
	return true;
}

static bool ports_good(const struct conf *conf, struct fault *why)
{
	if (conf->admin_port == 0 || conf->admin_port != conf->port ||
	    (*conf->admin_host && strcmp(conf->admin_host, conf->host) != 0))
		return true;
	return fault_set(why, FAULT_bad_input, "port and admin_port are both %u",
			 conf->port);
}

bool conf_values_good(const struct conf *conf, struct fault *why)
{
	return words_good(conf, why) && proxies_good(conf, why) && ports_good(conf, why);
}
