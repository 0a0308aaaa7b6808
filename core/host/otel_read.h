/* SPDX-License-Identifier: MIT */
/* otel_read.h -- values of OTEL_* variables: durations, counts, pairs. Used by otel.c
 * only. */
#ifndef HOST_OTEL_READ_H
#define HOST_OTEL_READ_H

#include "host/otel.h"

struct otel_reader {
	struct otel_config *config; /* warnings and copies go there */
	otel_getenv_fn *getenv;
	void *context;
};

void otel_warn(struct otel_reader *reader, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

/* The trimmed value, size 0 when unset or empty; borrowed. */
struct slice otel_value(struct otel_reader *reader, const char *name);

/* A signal's variable, or the general one: stem with and without the signal's word. name
 * (60 bytes) gets the one that is set, or the general one. */
struct slice otel_signal_value(struct otel_reader *reader, enum otel_signal signal,
			       const char *stem, char name[60]);

/* These give the default, with a warning, for what they cannot read. */
bool otel_read_bool(struct otel_reader *reader, const char *name);
int otel_read_ms(struct otel_reader *reader, const char *name, struct slice value,
		 int otherwise);
size_t otel_read_count(struct otel_reader *reader, const char *name, size_t minimum,
		       size_t maximum, size_t otherwise);

/* Cuts the next "key=value" off a comma-separated list; both percent-decoded into the
 * arena. False at the end of the list, or with *bad at something malformed. Empty members
 * are skipped. */
bool otel_next_pair(struct otel_reader *reader, struct slice *rest, struct slice *key,
		    struct slice *value, bool *bad);

/* Whether a comma-separated list has this word, in any case. */
bool otel_list_has(struct slice list, struct slice word);

#endif
