/* SPDX-License-Identifier: MIT */
/* service_text.h -- what a service offers, as its own file says: for `orrery routes`. The
 * words are lib/describe.lua's.
 */
#ifndef API_SERVICE_TEXT_H
#define API_SERVICE_TEXT_H

#include "base/buf.h"
#include "base/fault.h"

struct vm;

enum service_text { SERVICE_TEXT_lines, SERVICE_TEXT_json };

/* Runs the file under the VM's budgets and appends the description. False with why, as
 * service_load. */
bool service_describe(struct vm *vm, const char *path, enum service_text how,
		      struct buf *out, struct fault *why);

#endif
