/* SPDX-License-Identifier: MIT */
/* pg_migrate.c -- plain, blocking libpq. */
#include "store/pg_migrate.h"

#include "base/buf.h"
#include "base/check.h"
#include "store/pg_section.h"

#include <libpq-fe.h>
#include <stdlib.h>

struct pg_migrate {
	PGconn *native;
	pg_applied_fn *applied;
	void *context;
};

static const char preparation[] = "set client_min_messages = warning;"
				  "set lock_timeout = '60s';"
				  "select pg_advisory_lock(hashtext('orrery migrate'));"
				  "create schema if not exists orrery;"
				  "create table if not exists orrery.migrations ("
				  "  service text not null,"
				  "  version integer not null,"
				  "  name text not null,"
				  "  checksum text not null,"
				  "  applied_at timestamptz not null default now(),"
				  "  primary key (service, version))";

/* --- one statement ---------------------------------------------------------------- */

/* The line of the file that the server's complaint points at; 0 when
 * it points nowhere. */
static unsigned line_of(const PGresult *result, const struct pg_section *section)
{
	const char *text = PQresultErrorField(result, PG_DIAG_STATEMENT_POSITION);
	long position = text ? strtol(text, NULL, 10) : 0; /* in characters, from 1 */
	unsigned line = section->line;

	if (position <= 0)
		return 0;
	for (size_t i = 0; i < section->sql.size && position > 1; i++) {
		line += section->sql.at[i] == '\n';
		position -= (section->sql.at[i] & 0xC0) != 0x80;
	}
	return line;
}

static void complain(const struct pg_migrate *migrate, const PGresult *result,
		     const struct pg_section *section, struct fault *why)
{
	const char *words = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);
	const char *code = PQresultErrorField(result, PG_DIAG_SQLSTATE);
	unsigned line = section ? line_of(result, section) : 0;

	if (!words)
		words = PQerrorMessage(migrate->native);
	if (line > 0)
		fault_set(why, FAULT_internal, "line %u: %.*s (%s)", line,
			  (int)strcspn(words, "\n"), words, code ? code : "");
	else
		fault_set(why, code ? FAULT_internal : FAULT_unavailable, "%.*s%s%s%s",
			  (int)strcspn(words, "\n"), words, code ? " (" : "",
			  code ? code : "", code ? ")" : "");
}

/* Several statements may stand in sql. section: whose text it is, or NULL. */
static bool run(struct pg_migrate *migrate, const char *sql,
		const struct pg_section *section, struct fault *why)
{
	PGresult *result = PQexec(migrate->native, sql);
	ExecStatusType status = PQresultStatus(result);
	bool well = status == PGRES_COMMAND_OK || status == PGRES_TUPLES_OK ||
		    status == PGRES_EMPTY_QUERY;

	if (!well)
		complain(migrate, result, section, why);
	PQclear(result);
	return well;
}

/* Gives the first value, "" for none, freed with free(); NULL with why on failure. */
static char *ask(struct pg_migrate *migrate, const char *sql, const char *const *params,
		 int count, struct fault *why)
{
	PGresult *result =
		PQexecParams(migrate->native, sql, count, NULL, params, NULL, NULL, 0);
	ExecStatusType status = PQresultStatus(result);
	char *value = NULL;

	if (status != PGRES_COMMAND_OK && status != PGRES_TUPLES_OK)
		complain(migrate, result, NULL, why);
	else if (PQntuples(result) > 0)
		value = mem_copy(PQgetvalue(result, 0, 0),
				 (size_t)PQgetlength(result, 0, 0));
	else
		value = mem_copy("", 0);
	PQclear(result);
	return value;
}

static void roll_back(struct pg_migrate *migrate)
{
	if (PQtransactionStatus(migrate->native) != PQTRANS_IDLE)
		run(migrate, "rollback", NULL, NULL);
}

/* %1 and %2 in format become the names, quoted as identifiers. */
static bool run_with(struct pg_migrate *migrate, const char *format, const char *one,
		     const char *two, struct fault *why)
{
	char *names[] = { PQescapeIdentifier(migrate->native, one, strlen(one)),
			  two ? PQescapeIdentifier(migrate->native, two, strlen(two))
			      : NULL };
	struct buf sql = { 0 };
	bool well;

	for (const char *at = format; *at; at++) {
		if (at[0] == '%')
			buf_append(&sql, slice_text(names[*++at - '1']));
		else
			buf_append_byte(&sql, *at);
	}
	well = run(migrate, buf_text(&sql), NULL, why);
	buf_finish(&sql);
	PQfreemem(names[0]);
	PQfreemem(names[1]);
	return well;
}

/* --- life ------------------------------------------------------------------------- */

struct pg_migrate *pg_migrate_open(const char *url, pg_applied_fn *applied, void *context,
				   struct fault *why)
{
	struct pg_migrate *migrate = mem_zeroed(1, sizeof(*migrate));
	const char *keys[] = { "connect_timeout", "fallback_application_name", "dbname",
			       NULL };
	const char *values[] = { "10", "orrery migrate", url, NULL };

	migrate->applied = applied;
	migrate->context = context;
	migrate->native = PQconnectdbParams(keys, values, 1);
	if (PQstatus(migrate->native) != CONNECTION_OK) {
		const char *words = PQerrorMessage(migrate->native);

		fault_set(why, FAULT_unavailable, "%.*s", (int)strcspn(words, "\n"),
			  words);
		pg_migrate_close(migrate);
		return NULL;
	}
	if (!run(migrate, preparation, NULL, why)) {
		pg_migrate_close(migrate);
		return NULL;
	}
	return migrate;
}

void pg_migrate_close(struct pg_migrate *migrate)
{
	if (!migrate)
		return;
	PQfinish(migrate->native); /* gives the lock back, too */
	free(migrate);
}

/* --- sections --------------------------------------------------------------------- */

static bool record(struct pg_migrate *migrate, const char *service,
		   const struct pg_section *section, const char *checksum,
		   struct fault *why)
{
	char version[16], *name = mem_copy(section->name.at, section->name.size), *done;
	const char *params[] = { service, version, name, checksum };

	snprintf(version, sizeof(version), "%u", section->version);
	done = ask(
		migrate,
		"insert into orrery.migrations (service, version, name, checksum) values "
		"($1, $2::integer, $3, $4)",
		params, 4, why);
	free(name);
	free(done);
	return done != NULL;
}

static bool apply_inside(struct pg_migrate *migrate, const char *service,
			 const struct pg_section *section, const char *sql,
			 const char *checksum, struct fault *why)
{
	if (!run_with(migrate, "set local search_path to %1", service, NULL, why) ||
	    !run(migrate, sql, section, why))
		return false;
	if (PQtransactionStatus(migrate->native) != PQTRANS_INTRANS)
		return fault_set(why, FAULT_bad_input,
				 "it ends the transaction it runs in; leave that out");
	return record(migrate, service, section, checksum, why) &&
	       run(migrate, "commit", NULL, why);
}

static bool apply(struct pg_migrate *migrate, const char *service,
		  const struct pg_section *section, const char *sql, const char *checksum,
		  struct fault *why)
{
	if (!run(migrate, "begin", NULL, why))
		return false;
	if (!apply_inside(migrate, service, section, sql, checksum, why)) {
		roll_back(migrate);
		return false;
	}
	migrate->applied(migrate->context, service, section->version, section->name);
	return true;
}

static bool bring(struct pg_migrate *migrate, const char *service,
		  const struct pg_section *section, struct fault *why)
{
	char version[16], *sql = mem_copy(section->sql.at, section->sql.size);
	const char *params[] = { service, version };
	char *checksum, *applied = NULL;
	bool well = false;

	snprintf(version, sizeof(version), "%u", section->version);
	checksum =
		ask(migrate, "select encode(sha256(convert_to($1::text, 'UTF8')), 'hex')",
		    (const char *const[]){ sql }, 1, why);
	if (checksum)
		applied = ask(
			migrate,
			"select checksum from orrery.migrations where service = $1 and "
			"version = $2::integer",
			params, 2, why);
	if (applied && *applied == '\0')
		well = apply(migrate, service, section, sql, checksum, why);
	else if (applied && strcmp(applied, checksum) != 0)
		fault_set(why, FAULT_refused,
			  "it was applied already and has been edited since: write a new "
			  "one");
	else
		well = applied != NULL;
	free(applied);
	free(checksum);
	free(sql);
	return well;
}

static bool grant(struct pg_migrate *migrate, const char *lab, const char *service,
		  struct fault *why)
{
	struct buf role = { 0 };
	const char *name;
	char *exists;
	bool well;

	buf_printf(&role, "%s_%s", lab, service);
	name = buf_text(&role);
	exists = ask(migrate, "select 1 from pg_roles where rolname = $1",
		     (const char *const[]){ name }, 1, why);
	well = exists != NULL;
	if (well && *exists)
		well = run_with(
			migrate,
			"begin;"
			"grant usage on schema %1 to %2;"
			"grant select, insert, update, delete on all tables in schema "
			"%1 to %2;"
			"grant usage, select on all sequences in schema %1 to %2;"
			"commit",
			service, name, why);
	if (!well)
		roll_back(migrate);
	free(exists);
	buf_finish(&role);
	return well;
}

/* A database that is newer than the file was written by a later version of it. */
static bool check_newest(struct pg_migrate *migrate, const char *service, size_t count,
			 struct fault *why)
{
	char *newest =
		ask(migrate,
		    "select coalesce(max(version), 0) from orrery.migrations where "
		    "service = $1",
		    &service, 1, why);
	unsigned long version = newest ? strtoul(newest, NULL, 10) : 0;
	bool well = newest != NULL;

	if (version > count)
		well = fault_set(
			why, FAULT_refused,
			"the database is at migration %lu, the file ends with %zu",
			version, count);
	free(newest);
	return well;
}

static void name_section(struct fault *why, const struct pg_section *section)
{
	struct fault inner = *why;

	fault_set(why, inner.kind, "migration %u (%.*s): %.180s", section->version,
		  (int)(section->name.size < 40 ? section->name.size : 40),
		  section->name.at, inner.detail);
}

bool pg_migrate_service(struct pg_migrate *migrate, const char *lab, const char *service,
			const struct pg_section *sections, size_t count,
			struct fault *why)
{
	if (!check_newest(migrate, service, count, why) ||
	    !run_with(migrate, "create schema if not exists %1", service, NULL, why))
		return false;
	for (size_t i = 0; i < count; i++) {
		if (bring(migrate, service, &sections[i], why))
			continue;
		name_section(why, &sections[i]);
		return false;
	}
	return grant(migrate, lab, service, why);
}
