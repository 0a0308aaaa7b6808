/* SPDX-License-Identifier: MIT */
/* pg_target.c -- PQconninfoParse, completed with our own settings.
 *
 * struct pg_conn is libpq's own tag of PGconn.
 */
#include "store/pg_target.h"

#include "base/buf.h"
#include "base/check.h"
#include "store/resolve.h"

#include <libpq-fe.h>
#include <stdlib.h>

#define KEYS_MAX 80

struct pg_target {
	size_t count;
	char *keys[KEYS_MAX];
	char *values[KEYS_MAX];
	const char *name; /* one of values, or NULL */
};

static const char *value_of(const struct pg_target *target, const char *key)
{
	for (size_t i = 0; i < target->count; i++)
		if (strcmp(target->keys[i], key) == 0)
			return target->values[i];
	return NULL;
}

static void put(struct pg_target *target, const char *key, const char *value)
{
	check(target->count < KEYS_MAX);
	target->keys[target->count] = mem_copy(key, strlen(key));
	target->values[target->count] = mem_copy(value, strlen(value));
	target->count++;
}

static void put_default(struct pg_target *target, const char *key, const char *value)
{
	if (!value_of(target, key))
		put(target, key, value);
}

/* The url's own options come last, so that they win. */
static void put_options(struct pg_target *target, const char *theirs)
{
	struct buf options = { 0 };

	buf_append(&options, SLICE("-c timezone=UTC -c datestyle=ISO "
				   "-c client_connection_check_interval=500 "));
	buf_append(&options, slice_text(theirs));
	put(target, "options", buf_text(&options));
	buf_finish(&options);
}

static bool find_name(struct pg_target *target, struct fault *why)
{
	const char *host = value_of(target, "host");
	struct slice rest = slice_text(host), part;
	size_t names = 0, parts = 0;

	if (value_of(target, "hostaddr") || !host || !*host)
		return true;
	while (slice_cut(&rest, ',', &part)) {
		char *each = mem_copy(part.at, part.size);

		names += !(*each == '\0' || *each == '/' || *each == '@' ||
			   resolve_numeric(each));
		parts++;
		free(each);
	}
	if (names > 0 && parts > 1)
		return fault_set(why, FAULT_bad_input,
				 "PostgreSQL url: several hosts must be addresses");
	if (names > 0)
		target->name = host;
	return true;
}

struct pg_target *pg_target_create(const char *url, struct fault *why)
{
	struct pg_target *target;
	char *message = NULL;
	PQconninfoOption *options = PQconninfoParse(url, &message);
	const char *theirs = "";

	if (!options) {
		/* libpq's words may quote the password: the url is not repeated. */
		fault_set(why, FAULT_bad_input, "PostgreSQL url: it cannot be parsed");
		PQfreemem(message);
		return NULL;
	}
	target = mem_zeroed(1, sizeof(*target));
	for (PQconninfoOption *each = options; each->keyword; each++) {
		if (!each->val)
			continue;
		if (strcmp(each->keyword, "options") == 0)
			theirs = each->val;
		else
			put(target, each->keyword, each->val);
	}
	put_options(target, theirs);
	PQconninfoFree(options);
	put_default(target, "fallback_application_name", "orrery");
	put_default(target, "client_encoding", "UTF8");
	put_default(target, "gssencmode", "disable"); /* its libraries block */
	put_default(target, "tcp_user_timeout", "10000");
	put_default(target, "keepalives_idle", "30");
	if (!find_name(target, why)) {
		pg_target_destroy(target);
		return NULL;
	}
	return target;
}

void pg_target_destroy(struct pg_target *target)
{
	if (!target)
		return;
	for (size_t i = 0; i < target->count; i++) {
		free(target->keys[i]);
		free(target->values[i]);
	}
	free(target);
}

const char *pg_target_name(const struct pg_target *target)
{
	return target->name;
}

const char *pg_target_database(const struct pg_target *target)
{
	const char *database = value_of(target, "dbname");

	if (!database)
		database = value_of(target, "user");
	return database ? database : "";
}

const char *pg_target_host(const struct pg_target *target)
{
	const char *host = value_of(target, "host");

	if (!host || !*host)
		host = value_of(target, "hostaddr");
	return host ? host : "";
}

int pg_target_port(const struct pg_target *target)
{
	const char *port = value_of(target, "port");

	return port ? atoi(port) : 0;
}

/* The name once for each address. */
static void repeat_name(struct buf *out, const char *name, const char *addresses)
{
	buf_append(out, slice_text(name));
	for (const char *comma = strchr(addresses, ','); comma;
	     comma = strchr(comma + 1, ',')) {
		buf_append_byte(out, ',');
		buf_append(out, slice_text(name));
	}
}

struct pg_conn *pg_target_connect(const struct pg_target *target, const char *addresses)
{
	const char *keys[KEYS_MAX + 3], *values[KEYS_MAX + 3];
	struct buf hosts = { 0 };
	size_t count = target->count;
	PGconn *connection;

	for (size_t i = 0; i < count; i++) {
		keys[i] = target->keys[i];
		values[i] = target->values[i];
	}
	if (addresses) { /* of two values for one key the later one counts */
		repeat_name(&hosts, target->name, addresses);
		keys[count] = "host";
		values[count++] = buf_text(&hosts);
		keys[count] = "hostaddr";
		values[count++] = addresses;
	}
	keys[count] = values[count] = NULL;
	connection = PQconnectStartParams(keys, values, 0);
	buf_finish(&hosts);
	return connection;
}
