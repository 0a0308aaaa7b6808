/* SPDX-License-Identifier: MIT */
/* check_conf.h -- what is wrong in conf/<lab>.lua: keys that nobody reads, values out of
 * range, services that are not there.
 */
#ifndef HOST_CHECK_CONF_H
#define HOST_CHECK_CONF_H

#include <stddef.h>

struct findings;

/* services: the names of the lab's folders. The file has been found to compile. */
void check_conf(struct findings *findings, const char *root, const char *lab,
		char *const *services, size_t count);

#endif
