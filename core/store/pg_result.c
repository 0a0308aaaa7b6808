/* SPDX-License-Identifier: MIT */
/* pg_result.c -- reads PGresult. */
#include "store/pg_result.h"

#include <libpq-fe.h>
#include <stdio.h>
#include <stdlib.h>

size_t pg_result_rows(const struct pg_result *result)
{
	return (size_t)PQntuples(result);
}

size_t pg_result_columns(const struct pg_result *result)
{
	return (size_t)PQnfields(result);
}

struct slice pg_result_name(const struct pg_result *result, size_t column)
{
	return slice_text(PQfname(result, (int)column));
}

unsigned pg_result_type(const struct pg_result *result, size_t column)
{
	return PQftype(result, (int)column);
}

struct slice pg_result_value(const struct pg_result *result, size_t row, size_t column)
{
	if (PQgetisnull(result, (int)row, (int)column))
		return (struct slice){ NULL, 0 };
	return slice_of(PQgetvalue(result, (int)row, (int)column),
			(size_t)PQgetlength(result, (int)row, (int)column));
}

uint64_t pg_result_affected(const struct pg_result *result)
{
	/* PQcmdTuples only reads, but takes no const. */
	return strtoull(PQcmdTuples((PGresult *)(uintptr_t)result), NULL, 10);
}

bool pg_result_rolled_back(const struct pg_result *result)
{
	return strcmp(PQcmdStatus((PGresult *)(uintptr_t)result), "ROLLBACK") == 0;
}

static bool starts(const char *code, const char *class)
{
	return strncmp(code, class, strlen(class)) == 0;
}

static enum fault_kind kind_of(const char *code)
{
	if (code[0] == '\0' || starts(code, "53") || starts(code, "57P") ||
	    starts(code, "08"))
		return FAULT_unavailable;
	if (starts(code, "23") || starts(code, "40001") || starts(code, "40P01") ||
	    starts(code, "55P03"))
		return FAULT_refused;
	if (starts(code, "57014"))
		return FAULT_timeout;
	return FAULT_internal;
}

void pg_result_fault(const struct pg_result *result, const char *message,
		     struct fault *why, struct pg_error *error)
{
	const char *code = PQresultErrorField(result, PG_DIAG_SQLSTATE);
	const char *words = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);
	const char *constraint = PQresultErrorField(result, PG_DIAG_CONSTRAINT_NAME);

	memset(error, 0, sizeof(*error));
	snprintf(error->code, sizeof(error->code), "%s", code ? code : "");
	snprintf(error->constraint, sizeof(error->constraint), "%s",
		 constraint ? constraint : "");
	if (!words || !*words)
		words = message;
	fault_set(why, kind_of(error->code), "%.*s", (int)strcspn(words, "\n"), words);
}

bool pg_error_ends_session(const struct pg_error *error)
{
	return starts(error->code, "57P") || starts(error->code, "08");
}

bool pg_error_stale_plan(const struct pg_error *error)
{
	return starts(error->code, "26000") || starts(error->code, "0A000");
}
