/* SPDX-License-Identifier: MIT */
/* free_port.h -- a port of 127.0.0.1 for a server that a test stops and starts again.
 *
 * It lies below those that the kernel gives away by itself (ip_local_port_range): while
 * the server is away, neither the client of another test nor its server can come to stand
 * there. */
#ifndef STORE_FREE_PORT_H
#define STORE_FREE_PORT_H

#include <arpa/inet.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define FREE_PORT_LEAST 11000
#define FREE_PORTS 9000

static bool port_is_free(int port)
{
	struct sockaddr_in address = { .sin_family = AF_INET,
				       .sin_port = htons((uint16_t)port) };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	bool bound;

	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	bound = fd >= 0 && bind(fd, (struct sockaddr *)&address, sizeof(address)) == 0;
	close(fd);
	return bound;
}

__attribute__((unused)) static int free_port(void)
{
	struct timespec now;
	unsigned seed;

	clock_gettime(CLOCK_REALTIME, &now);
	seed = (unsigned)getpid() * 2654435761u ^ (unsigned)now.tv_nsec;
	for (int i = 0; i < 1000; i++) {
		int port = FREE_PORT_LEAST + (int)((unsigned)rand_r(&seed) % FREE_PORTS);

		if (port_is_free(port))
			return port;
	}
	fprintf(stderr, "no free port from %d on\n", FREE_PORT_LEAST);
	abort();
}

#endif
