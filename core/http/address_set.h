/* SPDX-License-Identifier: MIT */
/* address_set.h -- IP addresses as values, and sets of networks of them. Pure.
 *
 * An IPv4 address is the IPv6 address that it is mapped to (RFC 4291, 2.5.5.2): so
 * "::ffff:192.0.2.7" is 192.0.2.7, and "::/0" has all of both families.
 */
#ifndef HTTP_ADDRESS_SET_H
#define HTTP_ADDRESS_SET_H

#include "base/fault.h"

#include <stdint.h>

#define ADDRESS_TEXT_SIZE 46 /* the longest, with a NUL */

struct sockaddr;

struct address {
	uint8_t bytes[16];
};

/* Of a socket, with its port. False: it is of another family. */
bool address_of(const struct sockaddr *at, struct address *address, unsigned *port);

/* "192.0.2.7", "::1", "fe80::1%eth0" (the zone is not kept). False: no address. */
bool address_read(struct slice text, struct address *address);

/* The shortest form, terminated (RFC 5952); IPv4 as such. */
struct slice address_write(const struct address *address, char text[ADDRESS_TEXT_SIZE]);

struct address_set;

/* Networks and addresses with commas between them: "192.0.2.0/24, ::1"; empty parts do
 * not count. Gives; NULL, bad_input: names the part that is none of them. "192.0.2.1/24"
 * is none, for it could mean one address or a network of them. */
struct address_set *address_set_create(struct slice list, struct fault *why);
void address_set_destroy(struct address_set *set); /* NULL is allowed */

bool address_set_has(const struct address_set *set, const struct address *address);

#endif
