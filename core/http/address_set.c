/* SPDX-License-Identifier: MIT */
#include "http/address_set.h"

#include "base/check.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdlib.h>

#define MAPPED_SIZE 12 /* bytes before those of an IPv4 address */
#define BITS 128

static const uint8_t mapped[MAPPED_SIZE] = { [10] = 0xff, [11] = 0xff };

struct network {
	struct address address;
	unsigned bits;
};

struct address_set {
	size_t count;
	struct network networks[];
};

/* --- one address ------------------------------------------------------------------ */

static bool is_v4(const struct address *address)
{
	return memcmp(address->bytes, mapped, MAPPED_SIZE) == 0;
}

bool address_of(const struct sockaddr *at, struct address *address, unsigned *port)
{
	const struct sockaddr_in *four = (const struct sockaddr_in *)at;
	const struct sockaddr_in6 *six = (const struct sockaddr_in6 *)at;

	if (at->sa_family == AF_INET) {
		memcpy(address->bytes, mapped, MAPPED_SIZE);
		memcpy(address->bytes + MAPPED_SIZE, &four->sin_addr, 4);
		*port = ntohs(four->sin_port);
	} else if (at->sa_family == AF_INET6) {
		memcpy(address->bytes, &six->sin6_addr, sizeof(address->bytes));
		*port = ntohs(six->sin6_port);
	} else {
		return false;
	}
	return true;
}

bool address_read(struct slice text, struct address *address)
{
	char word[ADDRESS_TEXT_SIZE];
	const char *zone = text.size ? memchr(text.at, '%', text.size) : NULL;

	if (zone)
		text.size = (size_t)(zone - text.at);
	if (text.size == 0 || text.size >= sizeof(word) || memchr(text.at, 0, text.size))
		return false;
	memcpy(word, text.at, text.size);
	word[text.size] = 0;
	memcpy(address->bytes, mapped, MAPPED_SIZE);
	if (!zone && inet_pton(AF_INET, word, address->bytes + MAPPED_SIZE) == 1)
		return true;
	return inet_pton(AF_INET6, word, address->bytes) == 1;
}

struct slice address_write(const struct address *address, char text[ADDRESS_TEXT_SIZE])
{
	const char *written =
		is_v4(address)
			? inet_ntop(AF_INET, address->bytes + MAPPED_SIZE, text,
				    ADDRESS_TEXT_SIZE)
			: inet_ntop(AF_INET6, address->bytes, text, ADDRESS_TEXT_SIZE);

	check(written);
	return slice_text(text);
}

/* --- sets ------------------------------------------------------------------------- */

static bool same_prefix(const struct address *a, const struct address *b, unsigned bits)
{
	unsigned whole = bits / 8, rest = bits % 8;

	if (memcmp(a->bytes, b->bytes, whole) != 0)
		return false;
	return rest == 0 || (a->bytes[whole] ^ b->bytes[whole]) >> (8 - rest) == 0;
}

/* Whether all bits behind the prefix are 0. */
static bool ends_with_prefix(const struct network *network)
{
	struct address zero = { { 0 } };

	for (unsigned bit = network->bits; bit < BITS; bit++)
		zero.bytes[bit / 8] |= (uint8_t)(0x80 >> bit % 8);
	for (size_t i = 0; i < sizeof(zero.bytes); i++)
		if (network->address.bytes[i] & zero.bytes[i])
			return false;
	return true;
}

static bool network_read(struct slice part, struct network *network, struct fault *why)
{
	struct slice bits = part, address;
	unsigned long long count;
	bool v4;

	slice_cut(&bits, '/', &address);
	if (memchr(address.at, '%', address.size) ||
	    !address_read(address, &network->address))
		return fault_set(why, FAULT_bad_input,
				 "'%.*s' is neither an IP address nor a network",
				 SLICE_PRINT(part));
	network->bits = BITS;
	if (!bits.at)
		return true;
	v4 = !memchr(address.at, ':', address.size);
	if (!slice_to_uint(bits, &count) || count > (v4 ? 32 : BITS))
		return fault_set(why, FAULT_bad_input,
				 "'%.*s' has no prefix length from 0 to %u",
				 SLICE_PRINT(part), v4 ? 32 : BITS);
	network->bits = (unsigned)count + (v4 ? MAPPED_SIZE * 8 : 0);
	if (!ends_with_prefix(network))
		return fault_set(why, FAULT_bad_input,
				 "'%.*s' is no network: its address goes on behind the "
				 "prefix",
				 SLICE_PRINT(part));
	return true;
}

static size_t part_count(struct slice list)
{
	size_t count = 1;

	for (size_t i = 0; i < list.size; i++)
		count += list.at[i] == ',';
	return count;
}

struct address_set *address_set_create(struct slice list, struct fault *why)
{
	struct address_set *set =
		mem_zeroed(1, sizeof(*set) + part_count(list) * sizeof(*set->networks));
	struct slice part;

	while (slice_cut(&list, ',', &part)) {
		part = slice_trim(part);
		if (part.size == 0)
			continue;
		if (!network_read(part, &set->networks[set->count], why)) {
			free(set);
			return NULL;
		}
		set->count++;
	}
	return set;
}

void address_set_destroy(struct address_set *set)
{
	free(set);
}

bool address_set_has(const struct address_set *set, const struct address *address)
{
	for (size_t i = 0; i < set->count; i++)
		if (same_prefix(&set->networks[i].address, address,
				set->networks[i].bits))
			return true;
	return false;
}
