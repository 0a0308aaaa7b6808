/* SPDX-License-Identifier: MIT */
/* conf_values.h -- what settings may say, beyond their kind: words of a list, addresses.
 */
#ifndef HOST_CONF_VALUES_H
#define HOST_CONF_VALUES_H

#include "base/fault.h"

struct conf;

/* False, bad_input: names the setting. */
bool conf_values_good(const struct conf *conf, struct fault *why);

#endif
