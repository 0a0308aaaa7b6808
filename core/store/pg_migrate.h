/* SPDX-License-Identifier: MIT */
/* pg_migrate.h -- brings the schemas of a lab's services to their newest version.
 *
 * It blocks: it is for a command, never for a loop. From opening to closing it holds an
 * advisory lock, so that two at once take turns. Each section runs in a transaction of
 * its own, with search_path set to the service's schema, and is recorded in
 * orrery.migrations with the SHA-256 of its text; a section that was applied and then
 * edited is refused.
 *
 * The role <lab>_<service>, if it exists, may use the schema, its tables (select, insert,
 * update, delete) and its sequences; that is renewed each time.
 */
#ifndef STORE_PG_MIGRATE_H
#define STORE_PG_MIGRATE_H

#include "base/fault.h"

struct pg_migrate;
struct pg_section;

/* name is borrowed during the call. */
typedef void pg_applied_fn(void *context, const char *service, unsigned version,
			   struct slice name);

/* Connects as the owner of all, and takes the lock. Says each applied section. */
struct pg_migrate *pg_migrate_open(const char *url, pg_applied_fn *applied, void *context,
				   struct fault *why);
void pg_migrate_close(struct pg_migrate *migrate); /* NULL is allowed */

/* Applies what is missing of a service: its folder's name, which is also its schema's. */
bool pg_migrate_service(struct pg_migrate *migrate, const char *lab, const char *service,
			const struct pg_section *sections, size_t count,
			struct fault *why);

#endif
