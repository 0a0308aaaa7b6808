/* SPDX-License-Identifier: MIT */
/* pg_statement.c -- one allocation per statement: the struct, its parameters, their
 * texts. */
#include "store/pg_statement.h"

#include "base/check.h"
#include "watch/metrics.h"

#include <stdlib.h>

#define TEXT_RECORDED_MAX 4096

static char *place(char **at, struct slice text)
{
	char *copy = *at;

	if (text.size > 0)
		memcpy(copy, text.at, text.size);
	copy[text.size] = '\0';
	*at += text.size + 1;
	return copy;
}

static void span_begin(const struct pg_record *record, struct pg_statement *statement)
{
	char memory[PG_SUMMARY_SIZE];
	struct span *span =
		span_start(record->observer->tracer, SPAN_client,
			   slice_text(pg_verb_name(statement->verb)), &statement->trace);
	struct slice sql = statement->step.sql, summary;

	statement->span = span;
	if (!span_recording(span))
		return;
	summary = pg_text_summary(sql, memory);
	if (sql.size > TEXT_RECORDED_MAX)
		sql.size = TEXT_RECORDED_MAX;
	span_rename(span, summary);
	span_attr(span, attr_text(SLICE("db.system.name"), SLICE("postgresql")));
	if (record->database.size > 0)
		span_attr(span, attr_text(SLICE("db.namespace"), record->database));
	span_attr(span, attr_text(SLICE("db.query.summary"), summary));
	span_attr(span, attr_text(SLICE("db.query.text"), sql));
	if (record->address.size > 0)
		span_attr(span, attr_text(SLICE("server.address"), record->address));
	if (record->port != 0 && record->port != 5432)
		span_attr(span, attr_integer(SLICE("server.port"), record->port));
}

struct pg_statement *pg_statement_create(const struct pg_record *record,
					 enum pg_purpose purpose,
					 const struct pg_query *query)
{
	size_t size = query->sql.size + 1 + query->param_count * sizeof(char *);
	struct pg_statement *statement;
	const char **params;
	char *at;

	for (size_t i = 0; i < query->param_count; i++)
		size += query->params[i].size + 1;
	if (query->trace)
		size += query->trace->state.size + 1;
	statement = mem_resize(NULL, sizeof(*statement) + size);
	memset(statement, 0, sizeof(*statement));
	params = (const char **)(statement + 1);
	at = (char *)(params + query->param_count);
	for (size_t i = 0; i < query->param_count; i++)
		params[i] = query->params[i].at ? place(&at, query->params[i]) : NULL;
	list_init(&statement->step.member);
	statement->step.params = params;
	statement->step.param_count = (int)query->param_count;
	statement->step.sql = slice_of(place(&at, query->sql), query->sql.size);
	statement->purpose = purpose;
	statement->verb = pg_text_verb(query->sql);
	statement->deadline = query->deadline;
	statement->began = clock_mono();
	if (query->trace) {
		statement->trace = *query->trace;
		statement->trace.state = slice_of(place(&at, query->trace->state),
						  query->trace->state.size);
		span_begin(record, statement);
	}
	return statement;
}

void pg_statement_blame(struct pg_statement *statement, enum fault_kind kind,
			const char *detail)
{
	if (statement->step.why.kind == FAULT_none)
		fault_set(&statement->step.why, kind, "%s", detail);
}

static void count(struct pg_record *record, const struct pg_statement *statement)
{
	enum fault_kind kind = statement->step.why.kind;
	struct series **series = &record->durations[statement->verb][kind];

	if (!*series)
		*series = meter_own(record->observer->meter, METRIC_db_duration, 3,
				    SLICE("postgresql"),
				    slice_text(pg_verb_name(statement->verb)),
				    slice_text(kind ? fault_name(kind) : ""));
	series_observe(*series, mono_seconds(statement->began, clock_mono()));
}

static void span_finish(struct pg_statement *statement)
{
	const struct fault *why = &statement->step.why;
	struct slice code = slice_text(statement->step.error.code);

	if (why->kind != FAULT_none && span_recording(statement->span)) {
		if (code.size > 0)
			span_attr(statement->span,
				  attr_text(SLICE("db.response.status_code"), code));
		span_fail(statement->span, slice_text(fault_name(why->kind)),
			  slice_text(why->detail));
	}
	span_end(statement->span);
}

void pg_statement_finish(struct pg_record *record, struct pg_statement *statement,
			 const struct pg_result *result)
{
	const struct fault *why = statement->step.why.kind ? &statement->step.why : NULL;

	check(!timer_started(&statement->timer) && !timer_started(&statement->hold));
	check(list_empty(&statement->step.member));
	count(record, statement);
	if (statement->span)
		span_finish(statement);
	if (statement->begun)
		statement->begun(statement->context, NULL, why);
	else if (statement->done)
		statement->done(statement->context, why ? NULL : result, why,
				why ? &statement->step.error : NULL);
	free(statement);
}
