/* SPDX-License-Identifier: MIT */
/* decode.h -- OTLP bytes as text, read by protoc with test/telemetry/otlp.proto: a
 * decoder that shares no code with the encoder. Included by tests after cmocka.h.
 */
#ifndef TEST_DECODE_H
#define TEST_DECODE_H

#include "base/buf.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* The folder of otlp.proto, beside this file or at or above the working folder. */
static inline bool decode_folder(char folder[4096])
{
	char here[] = __FILE__, up[1024] = ".";
	char *slash = strrchr(here, '/');

	if (slash) {
		*slash = '\0';
		snprintf(folder, 4096, "%s/../../telemetry/otlp.proto", here);
		if (access(folder, R_OK) == 0) {
			*strrchr(folder, '/') = '\0';
			return true;
		}
	}
	for (int i = 0; i < 8; i++) {
		snprintf(folder, 4096, "%s/test/telemetry/otlp.proto", up);
		if (access(folder, R_OK) == 0) {
			*strrchr(folder, '/') = '\0';
			return true;
		}
		strcat(up, "/..");
	}
	return false;
}

/* False, with the reason printed, when there is no protoc. */
static inline bool decode_possible(void)
{
	if (system("command -v protoc >/dev/null 2>&1") == 0)
		return true;
	print_message("skipped: protoc (Debian: protobuf-compiler) is not installed\n");
	return false;
}

/* Appends what protoc says about the message; fails the test when protoc cannot read it.
 */
static inline void decode(const char *message, struct slice bytes, struct buf *text)
{
	char file[] = "/tmp/orrery-otlp-XXXXXX", folder[4096], command[8192], line[4096];
	int descriptor = mkstemp(file);
	FILE *output;

	assert_true(descriptor >= 0);
	assert_int_equal(write(descriptor, bytes.at, bytes.size), (ssize_t)bytes.size);
	close(descriptor);
	assert_true(decode_folder(folder));
	snprintf(command, sizeof(command),
		 "protoc --proto_path='%s' --decode=otlp.%s otlp.proto < %s 2>&1", folder,
		 message, file);
	output = popen(command, "r");
	assert_non_null(output);
	while (fgets(line, sizeof(line), output))
		buf_append(text, slice_text(line));
	assert_int_equal(pclose(output), 0);
	unlink(file);
	buf_text(text);
}

static inline void assert_says(const struct buf *text, const char *part)
{
	if (strstr(text->at, part) != NULL)
		return;
	fprintf(stderr, "%s", text->at);
	fail_msg("not in the decoded message: %s", part);
}

static inline void assert_says_not(const struct buf *text, const char *part)
{
	if (strstr(text->at, part) == NULL)
		return;
	fprintf(stderr, "%s", text->at);
	fail_msg("in the decoded message: %s", part);
}

#endif
