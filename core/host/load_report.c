/* SPDX-License-Identifier: MIT */
#include "host/load_report.h"

#include "base/check.h"
#include "base/clock.h"
#include "base/json.h"
#include "script/excerpt.h"
#include "script/sources.h"
#include "watch/log.h"

#include <stdlib.h>

struct load_report {
	uint32_t number;
	struct wall loaded_at;
	bool failed;
	struct fault why;
	struct buf traceback;
	struct buf source; /* of the file that why names */
};

static struct excerpt find_excerpt(const struct load_report *report)
{
	struct excerpt excerpt;

	if (excerpt_locate(slice_text(report->why.detail), &excerpt))
		excerpt_fill(&excerpt, buf_slice(&report->source));
	return excerpt;
}

void load_report_serves(struct load_report *report, uint32_t number)
{
	report->number = number;
	report->loaded_at = clock_wall();
}

void load_report_success(struct load_report *report, uint32_t number)
{
	load_report_serves(report, number);
	report->failed = false;
}

void load_report_failure(struct load_report *report, const struct fault *why,
			 struct slice traceback, const struct sources *sources)
{
	struct excerpt excerpt;

	report->failed = true;
	report->why = *why;
	buf_reset(&report->traceback);
	buf_append(&report->traceback, traceback);
	buf_reset(&report->source);
	if (sources && excerpt_locate(slice_text(report->why.detail), &excerpt))
		buf_append(&report->source, sources_of_chunk(sources, excerpt.file));
}

void load_report_write(const struct load_report *report, struct json *json)
{
	char loaded_at[CLOCK_ISO_SIZE];

	clock_iso(report->loaded_at, loaded_at);
	json_open_object(json);
	json_key(json, SLICE("number"));
	json_integer(json, report->number);
	json_key(json, SLICE("loaded_at"));
	json_string(json, slice_text(loaded_at));
	if (report->failed) {
		struct excerpt excerpt = find_excerpt(report);

		json_key(json, SLICE("error"));
		json_open_object(json);
		json_key(json, SLICE("detail"));
		json_string(json, slice_text(report->why.detail));
		excerpt_write(&excerpt, json);
		json_key(json, SLICE("traceback"));
		traceback_write(buf_slice(&report->traceback), json);
		json_close_object(json);
	}
	json_close_object(json);
}

void load_report_log(const struct load_report *report, struct log *log)
{
	struct buf lines = { 0 };
	struct attr attrs[6];
	size_t count = 0;

	if (report->failed) {
		struct excerpt excerpt = find_excerpt(report);

		excerpt_print(&excerpt, &lines);
		attrs[count++] =
			attr_text(SLICE("error"), slice_text(report->why.detail));
		if (excerpt.file.size) {
			attrs[count++] = attr_text(SLICE("code.file.path"), excerpt.file);
			attrs[count++] =
				attr_integer(SLICE("code.line.number"), excerpt.line);
			attrs[count++] = attr_text(SLICE("excerpt"), buf_slice(&lines));
		}
		attrs[count++] =
			attr_integer(SLICE("serving_generation"), report->number);
		if (report->traceback.size)
			attrs[count++] = attr_text(SLICE("exception.stacktrace"),
						   buf_slice(&report->traceback));
		log_write(log, LOG_error, NULL, SLICE("the service does not load"), attrs,
			  count);
	}
	buf_finish(&lines);
}

void load_report_print(const struct load_report *report, struct buf *out)
{
	struct slice rest, line;

	if (report->failed) {
		struct excerpt excerpt = find_excerpt(report);

		buf_printf(out, "%s\n", report->why.detail);
		excerpt_print(&excerpt, out);
		rest = buf_slice(&report->traceback);
		while (traceback_next(&rest, &line))
			buf_printf(out, "  %.*s\n", SLICE_PRINT(line));
	}
}

struct load_report *load_report_create(void)
{
	return mem_zeroed(1, sizeof(struct load_report));
}

void load_report_destroy(struct load_report *report)
{
	if (!report)
		return;
	buf_finish(&report->traceback);
	buf_finish(&report->source);
	free(report);
}
