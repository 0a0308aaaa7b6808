/* SPDX-License-Identifier: MIT */
/* json_scan.h -- JSON text, looked at before it is read.
 *
 * A strict scanner of RFC 8259 that keeps no values: it says whether the text is JSON, in
 * valid UTF-8, within the bounds of json_value.h, and what the reader has to mend
 * afterwards. What passes here cannot fail in the reader. Numbers must be finite doubles.
 */
#ifndef API_JSON_SCAN_H
#define API_JSON_SCAN_H

#include "base/buf.h"
#include "base/fault.h"

struct json_scan {
	size_t values; /* of any kind, containers included */
	bool arrays; /* there is at least one */
	bool nulls; /* at least one member is null */
	struct buf empty_arrays; /* of size_t: where in the text the `]` of each `[]`
				    stands */
};

/* scan is zeroed before, and finished by the caller in either case. False: bad_input,
 * with line and column in why->detail ("line 1, column 17: expected a value"). */
bool json_scan(struct slice text, struct json_scan *scan, struct fault *why);

static inline void json_scan_finish(struct json_scan *scan)
{
	buf_finish(&scan->empty_arrays);
}

#endif
