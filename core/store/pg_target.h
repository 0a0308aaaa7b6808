/* SPDX-License-Identifier: MIT */
/* pg_target.h -- a parsed PostgreSQL url: where to connect, as whom, with which settings.
 *
 * It adds what every session of the host has, unless the url says otherwise: UTC, ISO
 * dates, UTF-8, dead peers noticed within seconds, and client_connection_check_interval
 * (PostgreSQL 14 and newer): a session whose connection we closed ends its running
 * statement by itself.
 */
#ifndef STORE_PG_TARGET_H
#define STORE_PG_TARGET_H

#include "base/fault.h"

struct pg_target;

/* url: libpq URI or conninfo. Several hosts must be given as addresses. */
struct pg_target *pg_target_create(const char *url, struct fault *why);
void pg_target_destroy(struct pg_target *target);

/* The name to look up before connecting; NULL when the url holds addresses or paths.
 * Borrowed. */
const char *pg_target_name(const struct pg_target *target);

/* For spans; borrowed. The database is "" and the port 0 when the url
 * leaves them open. */
const char *pg_target_database(const struct pg_target *target);
const char *pg_target_host(const struct pg_target *target);
int pg_target_port(const struct pg_target *target);

/* libpq's handle of a connection that has begun, or NULL (out of memory). addresses: of
 * the name, comma-separated, or NULL. */
struct pg_conn *pg_target_connect(const struct pg_target *target, const char *addresses);

#endif
