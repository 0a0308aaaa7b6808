/* SPDX-License-Identifier: MIT */
#include "base/problem.h"

void problem_open(struct json *json, const struct fault *why, struct slice trace_id)
{
	json_open_object(json);
	json_key(json, SLICE("type"));
	json_string(json, SLICE("about:blank"));
	json_key(json, SLICE("title"));
	json_string(json, slice_text(fault_title(why->kind)));
	json_key(json, SLICE("status"));
	json_integer(json, fault_status(why));
	json_key(json, SLICE("kind"));
	json_string(json, slice_text(fault_name(why->kind)));
	json_key(json, SLICE("detail"));
	json_string(json, slice_text(why->detail));
	if (trace_id.size) {
		json_key(json, SLICE("trace_id"));
		json_string(json, trace_id);
	}
}
