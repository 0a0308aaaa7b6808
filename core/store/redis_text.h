/* SPDX-License-Identifier: MIT */
/* redis_text.h -- Redis urls and command names: pure functions over text. */
#ifndef STORE_REDIS_TEXT_H
#define STORE_REDIS_TEXT_H

#include "base/fault.h"

struct redis_target {
	char *user; /* NULL: none */
	char *password; /* NULL: none */
	char *host;
	int port;
	int database;
};

/* redis://[[user]:password@]host[:port][/db]; %XX is decoded in user and password. */
bool redis_target_init(struct redis_target *target, const char *url, struct fault *why);
void redis_target_finish(struct redis_target *target);

#define REDIS_NAME_SIZE 24

/* The command in capitals, terminated; "OTHER" when it does not look like one. */
void redis_name(struct slice command, char name[REDIS_NAME_SIZE]);

/* Of a name in capitals: it only reads. When in doubt, no. */
bool redis_name_reads(const char *name);

/* It would change, block or end a connection that others use. */
bool redis_name_is_unfit(const char *name);

#endif
