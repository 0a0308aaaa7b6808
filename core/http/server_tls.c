/* SPDX-License-Identifier: MIT */
#include "http/server_tls.h"
#include "base/check.h"

#include <openssl/err.h>
#include <openssl/ssl.h>

#include <errno.h>
#include <string.h>
#include <unistd.h>

/* What OpenSSL says of its last failure. */
static const char *tls_reason(void)
{
	unsigned long error = ERR_peek_last_error();
	const char *reason = ERR_reason_error_string(error);

	return reason ? reason : "no PEM file of that kind";
}

static bool tls_readable(const char *setting, const char *path, struct fault *why)
{
	if (path && *path && access(path, R_OK) == 0)
		return true;
	if (!path || !*path)
		return fault_set(why, FAULT_bad_input,
				 "%s is not set: TLS takes tls_certificate and tls_key",
				 setting);
	return fault_set(why, FAULT_bad_input, "%s: cannot read '%s': %s", setting, path,
			 strerror(errno));
}

/* OpenSSL would ask on the terminal. */
static int tls_no_passphrase(char *text, int size, int writing, void *context)
{
	return -1;
}

static int tls_select_protocol(SSL *ssl, const unsigned char **chosen,
			       unsigned char *chosen_size, const unsigned char *offered,
			       unsigned offered_size, void *context)
{
	const unsigned char *ours = context;
	unsigned char *found;

	if (SSL_select_next_proto(&found, chosen_size, ours,
				  (unsigned)strlen((const char *)ours), offered,
				  offered_size) != OPENSSL_NPN_NEGOTIATED)
		return SSL_TLSEXT_ERR_ALERT_FATAL;
	*chosen = found;
	return SSL_TLSEXT_ERR_OK;
}

/* Of TLS 1.2: a key of its own for each connection, and content that cannot be altered.
 * HTTP/2 takes no others (RFC 9113, 9.2.2); TLS 1.3 has no others. */
static const char tls12_ciphers[] = "ECDHE+AESGCM:ECDHE+CHACHA20";

static void tls_configure(SSL_CTX *tls, bool http2)
{
	static const char both[] = "\2h2\10http/1.1", one[] = "\10http/1.1";

	SSL_CTX_set_min_proto_version(tls, TLS1_2_VERSION);
	check(SSL_CTX_set_cipher_list(tls, tls12_ciphers) == 1);
	SSL_CTX_set_options(tls, SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION);
	SSL_CTX_set_mode(tls, SSL_MODE_RELEASE_BUFFERS); /* while a connection is idle */
	SSL_CTX_set_session_cache_mode(tls, SSL_SESS_CACHE_OFF);
	SSL_CTX_set_default_passwd_cb(tls, tls_no_passphrase);
	SSL_CTX_set_alpn_select_cb(tls, tls_select_protocol,
				   (void *)(http2 ? both : one));
}

static bool tls_load(SSL_CTX *tls, const char *certificate, const char *key,
		     struct fault *why)
{
	if (SSL_CTX_use_certificate_chain_file(tls, certificate) != 1)
		return fault_set(why, FAULT_bad_input, "tls_certificate: '%s': %s",
				 certificate, tls_reason());
	if (SSL_CTX_use_PrivateKey_file(tls, key, SSL_FILETYPE_PEM) != 1 &&
	    ERR_GET_LIB(ERR_peek_last_error()) != ERR_LIB_X509) /* it does not match */
		return fault_set(why, FAULT_bad_input, "tls_key: '%s': %s", key,
				 tls_reason());
	if (SSL_CTX_check_private_key(tls) != 1)
		return fault_set(why, FAULT_bad_input,
				 "tls_key: '%s' is not the key of tls_certificate '%s'",
				 key, certificate);
	return true;
}

SSL_CTX *server_tls_create(const char *certificate, const char *key, bool http2,
			   struct fault *why)
{
	SSL_CTX *tls;

	if (!tls_readable("tls_certificate", certificate, why) ||
	    !tls_readable("tls_key", key, why))
		return NULL;
	tls = SSL_CTX_new(TLS_server_method());
	check(tls);
	tls_configure(tls, http2);
	if (!tls_load(tls, certificate, key, why)) {
		SSL_CTX_free(tls);
		tls = NULL;
	}
	ERR_clear_error();
	return tls;
}

void server_tls_destroy(SSL_CTX *tls)
{
	SSL_CTX_free(tls);
}
