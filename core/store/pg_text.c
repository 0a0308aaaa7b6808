/* SPDX-License-Identifier: MIT */
/* pg_text.c -- words of SQL: skips comments, quotes and dollar quotes, nothing more. */
#include "store/pg_text.h"

#include "base/check.h"

static const char *const verbs[PG_verbs] = {
	[PG_other] = "OTHER",	[PG_begin] = "BEGIN",	    [PG_call] = "CALL",
	[PG_commit] = "COMMIT", [PG_delete] = "DELETE",	    [PG_insert] = "INSERT",
	[PG_merge] = "MERGE",	[PG_rollback] = "ROLLBACK", [PG_select] = "SELECT",
	[PG_set] = "SET",	[PG_show] = "SHOW",	    [PG_update] = "UPDATE",
	[PG_values] = "VALUES", [PG_with] = "WITH",
};

static bool is_letter(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' ||
	       (unsigned char)c >= 0x80;
}

static bool is_word(char c)
{
	return is_letter(c) || (c >= '0' && c <= '9') || c == '$';
}

/* The text behind the first occurrence of mark, from `from` on; the end when there is
 * none. */
static size_t skip_past(struct slice sql, size_t from, struct slice mark)
{
	const char *found = from < sql.size ? memmem(sql.at + from, sql.size - from,
						     mark.at, mark.size)
					    : NULL;

	return found ? (size_t)(found - sql.at) + mark.size : sql.size;
}

/* Comments nest in SQL. */
static size_t skip_comment(struct slice sql, size_t at)
{
	int depth = 1;

	for (at += 2; at + 1 < sql.size && depth > 0; at++) {
		if (sql.at[at] == '*' && sql.at[at + 1] == '/') {
			depth--;
			at++;
		} else if (sql.at[at] == '/' && sql.at[at + 1] == '*') {
			depth++;
			at++;
		}
	}
	return depth > 0 ? sql.size : at;
}

/* $tag$ ... $tag$; a parameter such as $1 is stepped over. */
static size_t skip_dollar(struct slice sql, size_t at)
{
	size_t end = at + 1;

	while (end < sql.size && sql.at[end] != '$' && is_word(sql.at[end]))
		end++;
	if (end >= sql.size || sql.at[end] != '$' ||
	    (end > at + 1 && !is_letter(sql.at[at + 1])))
		return end;
	return skip_past(sql, end + 1, slice_of(sql.at + at, end + 1 - at));
}

/* From the opening quote on. A backslash escapes only in E'...'. */
static size_t skip_string(struct slice sql, size_t at)
{
	bool escapes = at > 0 && (sql.at[at - 1] == 'E' || sql.at[at - 1] == 'e');

	for (at++; at < sql.size && sql.at[at] != '\''; at++)
		if (escapes && sql.at[at] == '\\')
			at++;
	return at < sql.size ? at + 1 : sql.size;
}

/* The next word, quoted identifier, parameter or literal from *at on; what else there is
 * comes as single characters. False at the end. */
static bool next_token(struct slice sql, size_t *at, struct slice *token)
{
	while (*at < sql.size) {
		char c = sql.at[*at];
		char next = *at + 1 < sql.size ? sql.at[*at + 1] : '\0';
		size_t begin = *at;

		if (c == '-' && next == '-') {
			*at = skip_past(sql, begin, SLICE("\n"));
		} else if (c == '/' && next == '*') {
			*at = skip_comment(sql, begin);
		} else if (c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '\f') {
			++*at;
		} else {
			if (c == '"')
				*at = skip_past(sql, begin + 1, SLICE("\""));
			else if (c == '\'')
				*at = skip_string(sql, begin);
			else if (c == '$')
				*at = skip_dollar(sql, begin);
			else if (is_letter(c))
				while (*at < sql.size && is_word(sql.at[*at]))
					++*at;
			else
				++*at;
			*token = slice_of(sql.at + begin, *at - begin);
			return true;
		}
	}
	return false;
}

static bool is(struct slice token, const char *word)
{
	return slice_equal_nocase(token, slice_text(word));
}

static bool is_any(struct slice token, const char *const *words)
{
	for (; *words; words++)
		if (is(token, *words))
			return true;
	return false;
}

/* The first word; opening brackets before it do not count. */
static struct slice first_word(struct slice sql, size_t *at)
{
	struct slice token = { NULL, 0 };

	while (next_token(sql, at, &token))
		if (token.at[0] != '(')
			return token;
	return slice_of("", 0);
}

enum pg_verb pg_text_verb(struct slice sql)
{
	size_t at = 0;
	struct slice word = first_word(sql, &at);

	for (int verb = PG_other + 1; verb < PG_verbs; verb++)
		if (is(word, verbs[verb]))
			return (enum pg_verb)verb;
	return PG_other;
}

const char *pg_verb_name(enum pg_verb verb)
{
	check((unsigned)verb < PG_verbs);
	return verbs[verb];
}

bool pg_text_reads(struct slice sql)
{
	static const char *const writers[] = { "INSERT", "UPDATE", "DELETE", "MERGE",
					       NULL };
	struct slice token;
	size_t at = 0;

	switch (pg_text_verb(sql)) {
	case PG_select:
	case PG_show:
	case PG_values:
		return true;
	case PG_with:
		while (next_token(sql, &at, &token))
			if (is_any(token, writers))
				return false;
		return true;
	default:
		return false;
	}
}

const char *pg_text_refuse(struct slice sql, bool in_transaction)
{
	static const char *const bounds[] = { "BEGIN", "START",	  "COMMIT", "END",
					      "ABORT", "PREPARE", NULL };
	static const char *const partial[] = { "ROLLBACK", "SAVEPOINT", "RELEASE", NULL };
	static const char *const session[] = { "LISTEN", "UNLISTEN",   "DISCARD",
					       "RESET",	 "DEALLOCATE", "LOAD",
					       NULL };
	static const char *const local[] = { "LOCAL", "CONSTRAINTS", "TRANSACTION",
					     NULL };
	struct slice token = { NULL, 0 };
	size_t at = 0;
	struct slice word = first_word(sql, &at);

	if (word.size == 0)
		return "an empty statement";
	if (is_any(word, bounds))
		return "a transaction is begun and ended by its own calls, not by a "
		       "statement";
	if (is_any(word, partial)) {
		if (!in_transaction)
			return "this statement needs a transaction";
		if (!is(word, "ROLLBACK"))
			return NULL;
		while (next_token(sql, &at, &token))
			if (is(token, "TO"))
				return NULL;
		return "a transaction is ended by its own call, not by a statement";
	}
	if (is(word, "COPY"))
		return "COPY needs a connection of its own";
	if (is_any(word, session))
		return "this statement would change a connection that others use";
	if (is(word, "SET") &&
	    !(in_transaction && next_token(sql, &at, &token) && is_any(token, local)))
		return "SET would change a connection that others use";
	return NULL;
}

/* Appends " name" when it fits. */
static size_t append(char *memory, size_t size, struct slice word)
{
	if (size + 1 + word.size >= PG_SUMMARY_SIZE)
		return size;
	if (size > 0)
		memory[size++] = ' ';
	memcpy(memory + size, word.at, word.size);
	return size + word.size;
}

struct slice pg_text_summary(struct slice sql, char memory[PG_SUMMARY_SIZE])
{
	static const char *const before[] = { "FROM",	"JOIN",	 "INTO",
					      "UPDATE", "TABLE", NULL };
	static const char *const not_names[] = { "ONLY", "LATERAL", "SELECT", "OF", "SET",
						 "SKIP", "NOWAIT",  "IF",     NULL };
	size_t size = append(memory, 0, slice_text(verbs[pg_text_verb(sql)]));
	struct slice token, last = SLICE("");
	bool name_next = false;
	size_t at = 0;

	for (int names = 0; names < 4 && next_token(sql, &at, &token);) {
		bool name = is_letter(token.at[0]) || token.at[0] == '"';

		if (name_next && is(token, "ONLY"))
			continue;
		if (name_next && name && !is_any(token, not_names)) {
			while (at + 1 < sql.size && sql.at[at] == '.' &&
			       is_letter(sql.at[at + 1])) {
				size_t from = at++;
				struct slice part;

				next_token(sql, &at, &part);
				token.size += at - from;
			}
			size = append(memory, size, token);
			names++;
		}
		/* "ON CONFLICT DO UPDATE", "FOR UPDATE" name no table. */
		name_next = is_any(token, before) &&
			    !(is(token, "UPDATE") && (is(last, "DO") || is(last, "FOR")));
		last = token;
	}
	return slice_of(memory, size);
}
