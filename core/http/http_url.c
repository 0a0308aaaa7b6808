/* SPDX-License-Identifier: MIT */
/* http_url.c -- one pass over the authority, one over the rest. */
#include "http/http_url.h"

#define PORT_DEFAULT 80
#define PORT_MAX 65535
#define HOST_SIZE_MAX 253

static bool is_visible(char c)
{
	return c > 0x20 && c < 0x7f;
}

/* Letters, digits, and what names and addresses hold beside them. */
static bool is_host_character(char c, bool in_brackets)
{
	if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9'))
		return true;
	return in_brackets ? c == ':' || c == '.' : c == '.' || c == '-' || c == '_';
}

static bool host_parse(struct slice host, bool in_brackets, struct fault *why)
{
	if (host.size == 0)
		return fault_set(why, FAULT_bad_input, "the URL has no host");
	if (host.size > HOST_SIZE_MAX)
		return fault_set(why, FAULT_bad_input, "the host of the URL is too long");
	for (size_t i = 0; i < host.size; i++)
		if (!is_host_character(host.at[i], in_brackets))
			return fault_set(why, FAULT_bad_input,
					 "the host of the URL has a bad character");
	return true;
}

static bool port_parse(struct slice text, unsigned *port, struct fault *why)
{
	unsigned long long value;

	if (!slice_to_uint(text, &value) || value == 0 || value > PORT_MAX)
		return fault_set(why, FAULT_bad_input,
				 "the port of the URL is not 1 to 65535");
	*port = (unsigned)value;
	return true;
}

/* host, host:port, [address], [address]:port */
static bool authority_parse(struct http_url *url, struct fault *why)
{
	struct slice all = url->authority, rest = { NULL, 0 };
	bool in_brackets = all.size > 0 && all.at[0] == '[';
	const char *end;

	if (all.size > 0 && memchr(all.at, '@', all.size))
		return fault_set(why, FAULT_bad_input, "the URL holds credentials");
	if (in_brackets) {
		end = memchr(all.at, ']', all.size);
		if (end == NULL)
			return fault_set(why, FAULT_bad_input,
					 "the host of the URL lacks its ']'");
		url->host = slice_of(all.at + 1, (size_t)(end - all.at) - 1);
		rest = slice_of(end + 1, all.size - url->host.size - 2);
	} else {
		end = all.size > 0 ? memchr(all.at, ':', all.size) : NULL;
		url->host = slice_of(all.at, end ? (size_t)(end - all.at) : all.size);
		rest = slice_of(all.at + url->host.size, all.size - url->host.size);
	}
	if (!host_parse(url->host, in_brackets, why))
		return false;
	if (rest.size == 0)
		return true;
	if (rest.at[0] != ':')
		return fault_set(why, FAULT_bad_input,
				 "the URL has text behind its host");
	return port_parse(slice_of(rest.at + 1, rest.size - 1), &url->port, why);
}

bool http_url_parse(struct slice text, struct http_url *url, struct fault *why)
{
	static const struct slice scheme = { "http://", 7 };
	size_t end = scheme.size, path;

	*url = (struct http_url){ .port = PORT_DEFAULT };
	if (text.size < scheme.size ||
	    !slice_equal_nocase(slice_of(text.at, scheme.size), scheme))
		return fault_set(why, FAULT_bad_input,
				 "the URL does not begin with http://");
	for (size_t i = 0; i < text.size; i++)
		if (!is_visible(text.at[i]) || text.at[i] == '#')
			return fault_set(why, FAULT_bad_input,
					 "the URL has a bad character");
	while (end < text.size && text.at[end] != '/' && text.at[end] != '?')
		end++;
	url->authority = slice_of(text.at + scheme.size, end - scheme.size);
	if (!authority_parse(url, why))
		return false;
	url->target = slice_of(text.at + end, text.size - end);
	url->path_missing = url->target.size == 0 || url->target.at[0] != '/';
	for (path = end; path < text.size && text.at[path] != '?';)
		path++;
	url->path = slice_of(text.at + end, path - end);
	return true;
}
