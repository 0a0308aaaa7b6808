/* SPDX-License-Identifier: MIT */
/* redis_server.h -- a private Redis for a test, on a free port, ended by its process
 * id. */
#ifndef STORE_REDIS_SERVER_H
#define STORE_REDIS_SERVER_H

#include "pg_server.h"

struct redis_server {
	pid_t pid;
	int port;
	char url[96];
};

PG_SERVER bool redis_server_found(void)
{
	return access("/usr/bin/redis-server", X_OK) == 0;
}

PG_SERVER bool redis_server_answers(const struct redis_server *server)
{
	struct sockaddr_in address = { .sin_family = AF_INET,
				       .sin_port = htons((uint16_t)server->port) };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	bool answers;

	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	answers = connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0;
	close(fd);
	return answers;
}

/* Waits until it takes connections. password may be NULL. */
PG_SERVER void redis_server_start(struct redis_server *server, const char *password)
{
	char port[16];

	if (server->port == 0)
		server->port = free_port();
	snprintf(port, sizeof(port), "%d", server->port);
	snprintf(server->url, sizeof(server->url), "redis://%s%s%s127.0.0.1:%d/%d",
		 password ? ":" : "", password ? password : "", password ? "@" : "",
		 server->port, password ? 3 : 0);
	server->pid = fork();
	if (server->pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		dup2(open("/dev/null", O_RDWR), 1);
		execl("/usr/bin/redis-server", "redis-server", "--port", port, "--bind",
		      "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", "/tmp",
		      password ? "--requirepass" : (char *)NULL, password, (char *)NULL);
		_exit(127);
	}
	for (int i = 0; i < 1000 && !redis_server_answers(server); i++)
		pg_server_wait_ms(10);
}

PG_SERVER void redis_server_stop(struct redis_server *server)
{
	if (server->pid <= 0)
		return;
	kill(server->pid, SIGKILL);
	waitpid(server->pid, NULL, 0);
	server->pid = 0;
}

#endif
