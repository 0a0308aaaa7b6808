/* SPDX-License-Identifier: MIT */
/* redis_text.c -- two sorted tables of command names, and a url parser. */
#include "store/redis_text.h"

#include "base/check.h"

#include <stdlib.h>

static const char *const readers[] = {
	"BITCOUNT",  "BITPOS",	  "DBSIZE",	"ECHO",		 "EXISTS",  "GET",
	"GETBIT",    "GETRANGE",  "HEXISTS",	"HGET",		 "HGETALL", "HKEYS",
	"HLEN",	     "HMGET",	  "HSCAN",	"HSTRLEN",	 "HVALS",   "INFO",
	"KEYS",	     "LINDEX",	  "LLEN",	"LRANGE",	 "MGET",    "PING",
	"PTTL",	     "RANDOMKEY", "SCAN",	"SCARD",	 "SDIFF",   "SINTER",
	"SISMEMBER", "SMEMBERS",  "SMISMEMBER", "SRANDMEMBER",	 "SSCAN",   "STRLEN",
	"SUNION",    "TIME",	  "TTL",	"TYPE",		 "XLEN",    "XRANGE",
	"ZCARD",     "ZCOUNT",	  "ZRANGE",	"ZRANGEBYSCORE", "ZRANK",   "ZREVRANGE",
	"ZSCAN",     "ZSCORE",
};

static const char *const unfit[] = {
	"AUTH",	      "BLMOVE",	    "BLMPOP",	    "BLPOP",	    "BRPOP",
	"BRPOPLPUSH", "BZMPOP",	    "BZPOPMAX",	    "BZPOPMIN",	    "CLIENT",
	"DEBUG",      "DISCARD",    "EXEC",	    "HELLO",	    "MONITOR",
	"MULTI",      "PSUBSCRIBE", "PSYNC",	    "PUNSUBSCRIBE", "QUIT",
	"REPLICAOF",  "RESET",	    "SELECT",	    "SHUTDOWN",	    "SLAVEOF",
	"SSUBSCRIBE", "SUBSCRIBE",  "SUNSUBSCRIBE", "SYNC",	    "UNSUBSCRIBE",
	"UNWATCH",    "WAIT",	    "WATCH",	    "XREAD",	    "XREADGROUP",
};

static int compare(const void *key, const void *entry)
{
	return strcmp(key, *(const char *const *)entry);
}

bool redis_name_reads(const char *name)
{
	return bsearch(name, readers, sizeof(readers) / sizeof(readers[0]),
		       sizeof(readers[0]), compare) != NULL;
}

bool redis_name_is_unfit(const char *name)
{
	return bsearch(name, unfit, sizeof(unfit) / sizeof(unfit[0]), sizeof(unfit[0]),
		       compare) != NULL;
}

void redis_name(struct slice command, char name[REDIS_NAME_SIZE])
{
	bool fits = command.size > 0 && command.size < REDIS_NAME_SIZE;

	for (size_t i = 0; fits && i < command.size; i++) {
		char c = command.at[i];

		if (c >= 'a' && c <= 'z')
			c = (char)(c - 'a' + 'A');
		fits = (c >= 'A' && c <= 'Z') || c == '.' || c == '_';
		name[i] = c;
	}
	if (fits)
		name[command.size] = '\0';
	else
		memcpy(name, "OTHER", 6);
}

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* NULL for an empty text. */
static char *decode(struct slice text)
{
	char *out;
	size_t size = 0;

	if (text.size == 0)
		return NULL;
	out = mem_copy(text.at, text.size);
	for (size_t i = 0; i < text.size; i++) {
		bool escaped = text.at[i] == '%' && i + 2 < text.size &&
			       hex_digit(text.at[i + 1]) >= 0 &&
			       hex_digit(text.at[i + 2]) >= 0;

		out[size++] = escaped ? (char)(hex_digit(text.at[i + 1]) * 16 +
					       hex_digit(text.at[i + 2]))
				      : text.at[i];
		i += escaped ? 2 : 0;
	}
	out[size] = '\0';
	return out;
}

/* Cuts the text behind the last separator off *text; empty when there is none. */
static struct slice cut_last(struct slice *text, char separator)
{
	const char *found = text->size ? memrchr(text->at, separator, text->size) : NULL;
	struct slice rest = { NULL, 0 };

	if (found) {
		rest = slice_of(found + 1, text->size - (size_t)(found + 1 - text->at));
		text->size = (size_t)(found - text->at);
	}
	return rest;
}

static bool number(struct slice text, unsigned long long max, int *value)
{
	unsigned long long read = 0;

	if (text.size == 0)
		return true;
	if (!slice_to_uint(text, &read) || read > max)
		return false;
	*value = (int)read;
	return true;
}

bool redis_target_init(struct redis_target *target, const char *url, struct fault *why)
{
	struct slice rest = slice_text(url), user, password, database, port = { NULL, 0 };
	struct slice place;

	memset(target, 0, sizeof(*target));
	target->port = 6379;
	if (!slice_starts_with(rest, SLICE("redis://")))
		return fault_set(why, FAULT_bad_input,
				 "Redis url: it must begin with redis://");
	rest = slice_of(rest.at + 8, rest.size - 8);
	place = cut_last(&rest, '@');
	if (place.at) {
		user = rest;
		if (!memchr(user.at, ':', user.size))
			return fault_set(why, FAULT_bad_input,
					 "Redis url: a password stands behind a colon");
		slice_cut(&rest, ':', &user);
		password = rest;
		target->user = decode(user);
		target->password = decode(password);
		rest = place;
	}
	database = cut_last(&rest, '/');
	if (rest.size > 0 && rest.at[0] == '[') {
		struct slice tail = cut_last(&rest, ']');

		rest = slice_of(rest.at + 1, rest.size - 1);
		port = tail.size > 1 ? slice_of(tail.at + 1, tail.size - 1) : tail;
	} else {
		port = cut_last(&rest, ':');
	}
	if (rest.size == 0 || !number(port, 65535, &target->port) ||
	    !number(database, 65535, &target->database) || target->port == 0) {
		redis_target_finish(target);
		return fault_set(
			why, FAULT_bad_input,
			"Redis url: expected redis://[:password@]host[:port][/db]");
	}
	target->host = mem_copy(rest.at, rest.size);
	return true;
}

void redis_target_finish(struct redis_target *target)
{
	free(target->user);
	free(target->password);
	free(target->host);
	memset(target, 0, sizeof(*target));
}
