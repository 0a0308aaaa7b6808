/* SPDX-License-Identifier: MIT */
/* request_table.h -- a request as the table a script's handler gets. Hot path. */
#ifndef API_REQUEST_TABLE_H
#define API_REQUEST_TABLE_H

#include <stdbool.h>

struct lua_State;

struct buf;
struct http_request;
struct router_match;

/* Pushes {method, route, peer, path = {name = value}, query, headers, raw, body}. peer is
 * the client's address (http_request_client), empty when it is not known. Protected, in
 * host mode: raises a fault table for a body that is no JSON. raw: leave the body alone.
 * What match borrows may lie in scratch. Of query members with one name the last counts.
 */
void request_table_push(struct lua_State *L, struct http_request *request,
			const struct router_match *match, bool raw, struct buf *scratch);

#endif
