/* SPDX-License-Identifier: MIT */
/* request_client.c -- who asks, where proxies stand between. Each proxy has added the
 * address of its own client at the right of X-Forwarded-For, so what stands there is as
 * true as the one who wrote it is trusted: the list is read from the right, up to the
 * first address that is not a trusted proxy's. What is further left anybody may have
 * written. */
#include "http/address_set.h"
#include "http/server_inside.h"

static bool is_proxy(struct server_connection *connection, struct slice peer)
{
	struct address address;

	if (!connection->proxy_known) {
		connection->proxy_known = true;
		connection->proxy =
			address_read(peer, &address) &&
			address_set_has(connection->server->trusted, &address);
	}
	return connection->proxy;
}

/* Cuts the text behind the last comma off *rest. False when *rest is spent. */
static bool cut_last(struct slice *rest, struct slice *part)
{
	const char *comma;

	if (!rest->at)
		return false;
	comma = rest->size ? memrchr(rest->at, ',', rest->size) : NULL;
	if (!comma) {
		*part = *rest;
		*rest = slice_of(NULL, 0);
		return true;
	}
	*part = slice_of(comma + 1, rest->size - (size_t)(comma + 1 - rest->at));
	rest->size = (size_t)(comma - rest->at);
	return true;
}

/* Reads one list; false: what is left of it does not count any more. */
static bool go_left(const struct address_set *trusted, struct slice list,
		    struct address *client, bool *found)
{
	struct slice part;

	while (cut_last(&list, &part)) {
		struct address address;

		part = slice_trim(part);
		if (part.size == 0)
			continue;
		if (!address_read(part, &address))
			return false;
		*client = address;
		*found = true;
		if (!address_set_has(trusted, &address))
			return false;
	}
	return true;
}

struct slice http_request_client(struct http_request *request)
{
	const struct address_set *trusted = request->server->trusted;
	struct slice peer = http_request_peer(request);
	struct address client;
	char text[ADDRESS_TEXT_SIZE];
	bool found = false;

	if (!trusted || !is_proxy(request->connection, peer))
		return peer;
	if (request->client.size)
		return request->client;
	for (size_t i = http_request_header_count(request); i > 0; i--) {
		struct http_header header = http_request_header_at(request, i - 1);

		if (slice_equal(header.name, SLICE("x-forwarded-for")) &&
		    !go_left(trusted, header.value, &client, &found))
			break;
	}
	request->client =
		found ? arena_copy(&request->arena, address_write(&client, text)) : peer;
	return request->client;
}
