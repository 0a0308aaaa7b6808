/* SPDX-License-Identifier: MIT */
#include "api/json_scan.h"

#include "api/json_value.h"
#include "base/utf8.h"

#include <math.h>
#include <stdlib.h>

#define NUMBER_LENGTH_MAX 128

struct scanner {
	const char *at;
	const char *end;
	const char *begin;
	struct json_scan *scan;
	struct fault *why;
	unsigned depth;
};

static bool scan_value(struct scanner *s);

/* Says where, in lines and characters. */
static bool fail(struct scanner *s, const char *what)
{
	size_t line = 1, column = 1;

	for (const char *c = s->begin; c < s->at; c++) {
		if (*c == '\n') {
			line++;
			column = 1;
		} else if (((unsigned char)*c & 0xC0) != 0x80) {
			column++;
		}
	}
	return fault_set(s->why, FAULT_bad_input, "line %zu, column %zu: %s", line,
			 column, what);
}

/* The next byte, or NUL at the end: a NUL is nowhere allowed in JSON. */
static char peek(const struct scanner *s)
{
	return s->at < s->end ? *s->at : '\0';
}

static void skip_space(struct scanner *s)
{
	while (s->at < s->end &&
	       (*s->at == ' ' || *s->at == '\n' || *s->at == '\r' || *s->at == '\t'))
		s->at++;
}

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

/* --- strings ---------------------------------------------------------------------- */

/* Four digits at `at`; -1 when they are not. */
static int hex4(const struct scanner *s, const char *at)
{
	int value = 0;

	if (s->end - at < 4)
		return -1;
	for (int i = 0; i < 4; i++) {
		char c = at[i];

		if (is_digit(c))
			value = value * 16 + (c - '0');
		else if ((c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F'))
			value = value * 16 + ((c | 0x20) - 'a') + 10;
		else
			return -1;
	}
	return value;
}

/* At the backslash. */
static bool scan_escape(struct scanner *s)
{
	const char *after = s->at + 1;
	int unit, low;

	if (after == s->end)
		return fail(s, "the string does not end");
	if (*after != 'u') {
		if (!memchr("\"\\/bfnrt", *after, 8))
			return fail(s, "no such escape");
		s->at += 2;
		return true;
	}
	unit = hex4(s, after + 1);
	if (unit < 0)
		return fail(s, "expected four hexadecimal digits after \\u");
	if (unit >= 0xD800 && unit <= 0xDFFF) {
		low = s->end - s->at >= 12 && s->at[6] == '\\' && s->at[7] == 'u'
			      ? hex4(s, s->at + 8)
			      : -1;
		if (unit >= 0xDC00 || low < 0xDC00 || low > 0xDFFF)
			return fail(s, "half of a surrogate pair");
		s->at += 6;
	}
	s->at += 6;
	return true;
}

/* At the opening quote. */
static bool scan_string(struct scanner *s)
{
	s->at++;
	for (;;) {
		unsigned char c;
		size_t size;

		while (s->at < s->end && (c = (unsigned char)*s->at) >= 0x20 &&
		       c < 0x80 && c != '"' && c != '\\')
			s->at++;
		if (s->at == s->end)
			return fail(s, "the string does not end");
		c = (unsigned char)*s->at;
		if (c == '"') {
			s->at++;
			return true;
		}
		if (c < 0x20)
			return fail(s, "a control character inside a string");
		if (c == '\\') {
			if (!scan_escape(s))
				return false;
			continue;
		}
		size = utf8_character(slice_of(s->at, (size_t)(s->end - s->at)));
		if (size == 0)
			return fail(s, "this is not UTF-8");
		s->at += size;
	}
}

/* --- numbers and words ------------------------------------------------------------ */

static bool scan_digits(struct scanner *s)
{
	if (!is_digit(peek(s)))
		return fail(s, "expected a digit");
	while (is_digit(peek(s)))
		s->at++;
	return true;
}

static bool is_finite_number(const char *at, size_t size)
{
	char text[NUMBER_LENGTH_MAX + 1];

	memcpy(text, at, size);
	text[size] = '\0';
	return isfinite(strtod(text, NULL));
}

static bool scan_number(struct scanner *s)
{
	const char *begin = s->at;
	bool exponent = false;
	size_t size;

	if (*s->at == '-')
		s->at++;
	if (peek(s) == '0')
		s->at++;
	else if (!scan_digits(s))
		return false;
	if (is_digit(peek(s)))
		return fail(s, "a number does not begin with 0");
	if (peek(s) == '.') {
		s->at++;
		if (!scan_digits(s))
			return false;
	}
	if (peek(s) == 'e' || peek(s) == 'E') {
		exponent = true;
		s->at++;
		if (peek(s) == '+' || peek(s) == '-')
			s->at++;
		if (!scan_digits(s))
			return false;
	}
	size = (size_t)(s->at - begin);
	if (size > NUMBER_LENGTH_MAX || (exponent && !is_finite_number(begin, size))) {
		s->at = begin;
		return fail(s, "the number is too large");
	}
	return true;
}

static bool scan_word(struct scanner *s, struct slice word)
{
	if ((size_t)(s->end - s->at) < word.size ||
	    memcmp(s->at, word.at, word.size) != 0)
		return fail(s, "expected a value");
	s->at += word.size;
	return true;
}

/* --- containers ------------------------------------------------------------------- */

/* After an element. True with *more when a comma follows, without when the bracket
 * closes. */
static bool scan_after(struct scanner *s, char close, bool *more)
{
	skip_space(s);
	*more = peek(s) == ',';
	if (!*more && peek(s) != close)
		return fail(s, close == ']' ? "expected , or ]" : "expected , or }");
	s->at++;
	skip_space(s);
	return true;
}

static bool scan_array(struct scanner *s)
{
	bool more = true;

	s->scan->arrays = true;
	s->at++;
	skip_space(s);
	if (peek(s) == ']') {
		size_t offset = (size_t)(s->at - s->begin);

		buf_append(&s->scan->empty_arrays,
			   slice_of((const char *)&offset, sizeof(offset)));
		s->at++;
		return true;
	}
	while (more) {
		if (peek(s) == 'n')
			return fail(s, "null inside an array");
		if (!scan_value(s) || !scan_after(s, ']', &more))
			return false;
	}
	return true;
}

static bool scan_object(struct scanner *s)
{
	bool more = true;

	s->at++;
	skip_space(s);
	if (peek(s) == '}') {
		s->at++;
		return true;
	}
	while (more) {
		if (peek(s) != '"')
			return fail(s, "expected a name in quotes");
		if (!scan_string(s))
			return false;
		skip_space(s);
		if (peek(s) != ':')
			return fail(s, "expected :");
		s->at++;
		skip_space(s);
		s->scan->nulls |= peek(s) == 'n';
		if (!scan_value(s) || !scan_after(s, '}', &more))
			return false;
	}
	return true;
}

static bool scan_container(struct scanner *s)
{
	bool good;

	if (s->depth == JSON_DEPTH_MAX)
		return fail(s, "nested too deeply");
	s->depth++;
	good = *s->at == '[' ? scan_array(s) : scan_object(s);
	s->depth--;
	return good;
}

static bool scan_value(struct scanner *s)
{
	if (++s->scan->values > JSON_VALUES_MAX)
		return fail(s, "too many values");
	switch (peek(s)) {
	case '{':
	case '[':
		return scan_container(s);
	case '"':
		return scan_string(s);
	case 't':
		return scan_word(s, SLICE("true"));
	case 'f':
		return scan_word(s, SLICE("false"));
	case 'n':
		return scan_word(s, SLICE("null"));
	default:
		if (peek(s) != '-' && !is_digit(peek(s)))
			return fail(s, "expected a value");
		return scan_number(s);
	}
}

bool json_scan(struct slice text, struct json_scan *scan, struct fault *why)
{
	struct scanner s = { .at = text.at, .begin = text.at, .scan = scan, .why = why };

	if (text.size > JSON_SIZE_MAX)
		return fault_set(why, FAULT_bad_input, "larger than %u bytes",
				 JSON_SIZE_MAX);
	if (text.size == 0)
		return fault_set(why, FAULT_bad_input,
				 "line 1, column 1: expected a value");
	s.end = text.at + text.size;
	skip_space(&s);
	if (!scan_value(&s))
		return false;
	skip_space(&s);
	return s.at == s.end || fail(&s, "expected the end of the text");
}
