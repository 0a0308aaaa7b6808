/* SPDX-License-Identifier: MIT */
/* server_tls.h -- what the server shows to clients that speak TLS: its certificate, and
 * which protocols it takes.
 *
 * TLS 1.2 and 1.3, with OpenSSL's own choice of ciphers; no renegotiation and no
 * compression. Sessions are resumed with tickets, whose keys each server makes for
 * itself: a client that comes to another worker, or after a restart, shakes hands anew.
 * ALPN: h2 where it is allowed, http/1.1; a client that names only others is told so and
 * closed.
 *
 * Files are read once: new ones are for the next start.
 */
#ifndef HTTP_SERVER_TLS_H
#define HTTP_SERVER_TLS_H

#include "base/fault.h"

struct ssl_ctx_st;

/* PEM files: the certificate with the chain that leads to its root, and its key, which
 * has no passphrase. bad_input names the setting, tls_certificate or tls_key, and the
 * file. Gives. */
struct ssl_ctx_st *server_tls_create(const char *certificate, const char *key, bool http2,
				     struct fault *why);

/* NULL is allowed. */
void server_tls_destroy(struct ssl_ctx_st *tls);

#endif
