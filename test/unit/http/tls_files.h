/* SPDX-License-Identifier: MIT */
/* tls_files.h -- for tests: keys and certificates, made when they are asked for, and a
 * client that speaks TLS with blocking calls.
 */
#ifndef TEST_TLS_FILES_H
#define TEST_TLS_FILES_H

#include "site.h"

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>

#include <limits.h>

struct tls_files {
	char folder[64];
	char certificate[96];
	char key[96];
	char locked_key[96]; /* the same with a passphrase */
	char other_key[96]; /* of nothing */
	char nonsense[96];
};

static inline void tls_write_key(const char *path, EVP_PKEY *key, const char *passphrase)
{
	FILE *file = fopen(path, "w");

	check(file);
	check(PEM_write_PrivateKey(file, key, passphrase ? EVP_aes_128_cbc() : NULL, NULL,
				   0, NULL, (void *)passphrase));
	check(fclose(file) == 0);
}

static inline void tls_write_certificate(const char *path, EVP_PKEY *key)
{
	X509 *certificate = X509_new();
	X509_NAME *name = X509_get_subject_name(certificate);
	FILE *file = fopen(path, "w");

	check(file);
	X509_set_version(certificate, 2);
	ASN1_INTEGER_set(X509_get_serialNumber(certificate), 1);
	X509_gmtime_adj(X509_getm_notBefore(certificate), -3600);
	X509_gmtime_adj(X509_getm_notAfter(certificate), 3600);
	X509_set_pubkey(certificate, key);
	X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, (unsigned char *)"localhost",
				   -1, -1, 0);
	X509_set_issuer_name(certificate, name);
	check(X509_sign(certificate, key, EVP_sha256()) > 0);
	check(PEM_write_X509(file, certificate));
	check(fclose(file) == 0);
	X509_free(certificate);
}

static inline void tls_files_make(struct tls_files *files)
{
	EVP_PKEY *key = EVP_EC_gen("P-256"), *other = EVP_EC_gen("P-256");
	FILE *file;

	*files = (struct tls_files){ .folder = "/tmp/orrery-tls-XXXXXX" };
	check(mkdtemp(files->folder));
	snprintf(files->certificate, 96, "%s/certificate.pem", files->folder);
	snprintf(files->key, 96, "%s/key.pem", files->folder);
	snprintf(files->locked_key, 96, "%s/locked.pem", files->folder);
	snprintf(files->other_key, 96, "%s/other.pem", files->folder);
	snprintf(files->nonsense, 96, "%s/nonsense.pem", files->folder);
	tls_write_certificate(files->certificate, key);
	tls_write_key(files->key, key, NULL);
	tls_write_key(files->locked_key, key, "sesame");
	tls_write_key(files->other_key, other, NULL);
	file = fopen(files->nonsense, "w");
	check(file && fputs("nonsense\n", file) >= 0 && fclose(file) == 0);
	EVP_PKEY_free(key);
	EVP_PKEY_free(other);
}

static inline void tls_files_remove(struct tls_files *files)
{
	unlink(files->certificate);
	unlink(files->key);
	unlink(files->locked_key);
	unlink(files->other_key);
	unlink(files->nonsense);
	rmdir(files->folder);
}

/* --- the client ------------------------------------------------------------------- */

struct tls_client {
	int fd;
	SSL_CTX *context;
	SSL *ssl;
};

struct tls_wish { /* zeroed: anything */
	int version; /* the only one */
	const char *alpn; /* in its wire form */
	SSL_SESSION *session; /* to resume */
};

/* False: the handshake failed; close it all the same. */
static inline bool tls_connect(struct tls_client *client, const struct site *site,
			       struct tls_wish wish)
{
	client->fd = client_connect(site);
	client->context = SSL_CTX_new(TLS_client_method());
	if (wish.version) {
		SSL_CTX_set_min_proto_version(client->context, wish.version);
		SSL_CTX_set_max_proto_version(client->context, wish.version);
	}
	if (wish.version && wish.version < TLS1_2_VERSION)
		SSL_CTX_set_security_level(client->context, 0);
	client->ssl = SSL_new(client->context);
	if (wish.alpn)
		SSL_set_alpn_protos(client->ssl, (const unsigned char *)wish.alpn,
				    (unsigned)strlen(wish.alpn));
	if (wish.session)
		SSL_set_session(client->ssl, wish.session);
	SSL_set_fd(client->ssl, client->fd);
	return SSL_connect(client->ssl) == 1;
}

/* With TLS's word of farewell or without. */
static inline void tls_close(struct tls_client *client, bool politely)
{
	if (politely)
		SSL_shutdown(client->ssl);
	SSL_free(client->ssl);
	SSL_CTX_free(client->context);
	close(client->fd);
}

static inline bool tls_send_bytes(struct tls_client *client, struct slice bytes)
{
	while (bytes.size) {
		int size = bytes.size < INT_MAX ? (int)bytes.size : INT_MAX;
		int sent = SSL_write(client->ssl, bytes.at, size);

		if (sent <= 0)
			return false;
		bytes = slice_of(bytes.at + sent, bytes.size - (size_t)sent);
	}
	return true;
}

static inline bool tls_send(struct tls_client *client, const char *text)
{
	return tls_send_bytes(client, slice_text(text));
}

static inline bool tls_read(struct tls_client *client, char *at, size_t size)
{
	while (size) {
		int got = SSL_read(client->ssl, at, (int)size);

		if (got <= 0)
			return false;
		at += got;
		size -= (size_t)got;
	}
	return true;
}

/* Until the server closes; terminated; the caller frees. whole: it said so. */
static inline char *tls_read_all(struct tls_client *client, bool *whole)
{
	struct buf all = { 0 };
	char bytes[4096], *text;
	int got;

	while ((got = SSL_read(client->ssl, bytes, sizeof(bytes))) > 0)
		buf_append(&all, slice_of(bytes, (size_t)got));
	*whole = SSL_get_error(client->ssl, got) == SSL_ERROR_ZERO_RETURN;
	text = mem_copy(all.at, all.size);
	buf_finish(&all);
	return text;
}

/* One answer with a Content-Length, or without a body; terminated; the caller frees. */
static inline char *tls_read_answer(struct tls_client *client)
{
	size_t size = 0, capacity = 64 * 1024, end = 0;
	char *all = mem_zeroed(1, capacity + 1);

	while (size < capacity && tls_read(client, all + size, 1)) {
		size++;
		if (!end && size >= 4 && memcmp(all + size - 4, "\r\n\r\n", 4) == 0) {
			const char *length = strstr(all, "Content-Length: ");

			end = size + (length ? (size_t)atol(length + 16) : 0);
		}
		if (end && size == end)
			return all;
	}
	free(all);
	return NULL;
}

#endif
