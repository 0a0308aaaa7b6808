/* SPDX-License-Identifier: MIT */
/* pg_server.h -- a private PostgreSQL for a test: made in a temporary folder, on a free
 * port, ended by its process id. Everything is static, so that a test only includes it.
 *
 *     struct pg_server server;
 *     pg_server_create(&server);            initdb and start; server.url is the owner's
 *     pg_server_run(&server, "create ..."); any SQL, waiting for it
 *     pg_server_stop(&server, SIGINT);      SIGINT: fast, SIGQUIT: as a crash
 *     pg_server_start(&server);             again, same port and data
 *     pg_server_destroy(&server);           stops it and removes the folder
 *
 * PostgreSQL refuses to run as root; the account postgres is used then. When the test
 * dies, the kernel ends the server. pg_server_found is false where no server is
 * installed.
 */
#ifndef STORE_PG_SERVER_H
#define STORE_PG_SERVER_H

#include "free_port.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <libpq-fe.h>
#include <pwd.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PG_SERVER __attribute__((unused)) static

struct pg_server {
	pid_t pid;
	int port;
	char folder[64];
	char url[128]; /* over TCP */
	char socket_url[160]; /* over the Unix socket in the folder */
};

PG_SERVER void pg_server_die(const char *what)
{
	fprintf(stderr, "pg_server: %s: %s\n", what, strerror(errno));
	abort();
}

PG_SERVER void pg_server_wait_ms(int ms)
{
	struct timespec pause = { ms / 1000, (ms % 1000) * 1000000L };

	nanosleep(&pause, NULL);
}

/* The folder of initdb and postgres, or NULL. */
PG_SERVER const char *pg_server_programs(void)
{
	static const char *const folders[] = { "/usr/lib/postgresql/17/bin",
					       "/usr/lib/postgresql/16/bin",
					       "/usr/lib/postgresql/15/bin",
					       "/usr/lib/postgresql/14/bin", "/usr/bin" };
	char path[96];

	for (size_t i = 0; i < sizeof(folders) / sizeof(folders[0]); i++) {
		snprintf(path, sizeof(path), "%s/initdb", folders[i]);
		if (access(path, X_OK) == 0)
			return folders[i];
	}
	return NULL;
}

PG_SERVER bool pg_server_found(void)
{
	return pg_server_programs() && (geteuid() != 0 || getpwnam("postgres"));
}

/* Runs a program as an account that PostgreSQL accepts, its output in folder/log. */
PG_SERVER pid_t pg_server_spawn(const struct pg_server *server,
				const char *const *arguments)
{
	struct passwd *account = geteuid() == 0 ? getpwnam("postgres") : NULL;
	char path[96];
	pid_t pid = fork();

	if (pid < 0)
		pg_server_die("fork");
	if (pid > 0)
		return pid;
	snprintf(path, sizeof(path), "%s/log", server->folder);
	if (account && (initgroups("postgres", account->pw_gid) < 0 ||
			setgid(account->pw_gid) < 0 || setuid(account->pw_uid) < 0))
		_exit(126);
	prctl(PR_SET_PDEATHSIG, SIGQUIT);
	dup2(open("/dev/null", O_RDONLY), 0);
	dup2(open(path, O_WRONLY | O_CREAT | O_APPEND, 0600), 1);
	dup2(1, 2);
	if (chdir(server->folder) == 0)
		execv(arguments[0], (char *const *)(size_t)arguments);
	_exit(127);
}

PG_SERVER void pg_server_spawn_wait(const struct pg_server *server,
				    const char *const *arguments)
{
	int status;

	if (waitpid(pg_server_spawn(server, arguments), &status, 0) < 0 || status != 0)
		pg_server_die(arguments[0]);
}

/* Waits until it takes connections. */
PG_SERVER void pg_server_start(struct pg_server *server)
{
	char program[64], data[96], port[16];
	const char *const arguments[] = { program,
					  "-D",
					  data,
					  "-p",
					  port,
					  "-k",
					  server->folder,
					  "-h",
					  "127.0.0.1",
					  "-c",
					  "fsync=off",
					  "-c",
					  "max_connections=60",
					  "-c",
					  "shared_buffers=16MB",
					  "-c",
					  "jit=off",
					  NULL };

	snprintf(program, sizeof(program), "%s/postgres", pg_server_programs());
	snprintf(data, sizeof(data), "%s/data", server->folder);
	snprintf(port, sizeof(port), "%d", server->port);
	server->pid = pg_server_spawn(server, arguments);
	for (int i = 0; i < 3000; i++) {
		if (PQping(server->url) == PQPING_OK)
			return;
		if (waitpid(server->pid, NULL, WNOHANG) == server->pid)
			break;
		pg_server_wait_ms(10);
	}
	pg_server_die("the server does not start; see its log");
}

/* Waits until it has ended. */
PG_SERVER void pg_server_stop(struct pg_server *server, int signal_number)
{
	if (server->pid <= 0)
		return;
	kill(server->pid, signal_number);
	waitpid(server->pid, NULL, 0);
	server->pid = 0;
}

PG_SERVER void pg_server_create(struct pg_server *server)
{
	char program[64], data[96];
	const char *const arguments[] = { program,    "-D",	    data,    "-U",
					  "postgres", "-A",	    "trust", "-E",
					  "UTF8",     "--locale=C", "-N",    NULL };
	struct passwd *account = geteuid() == 0 ? getpwnam("postgres") : NULL;

	memset(server, 0, sizeof(*server));
	strcpy(server->folder, "/tmp/orrery-pg-XXXXXX");
	if (!mkdtemp(server->folder) || chmod(server->folder, 0700) < 0)
		pg_server_die("mkdtemp");
	if (account && chown(server->folder, account->pw_uid, account->pw_gid) < 0)
		pg_server_die("chown");
	snprintf(program, sizeof(program), "%s/initdb", pg_server_programs());
	snprintf(data, sizeof(data), "%s/data", server->folder);
	pg_server_spawn_wait(server, arguments);
	server->port = free_port();
	snprintf(server->url, sizeof(server->url),
		 "postgresql://postgres@127.0.0.1:%d/postgres", server->port);
	snprintf(server->socket_url, sizeof(server->socket_url),
		 "host=%s port=%d user=postgres dbname=postgres", server->folder,
		 server->port);
	pg_server_start(server);
}

PG_SERVER void pg_server_destroy(struct pg_server *server)
{
	pid_t pid;

	pg_server_stop(server, SIGINT);
	if (strncmp(server->folder, "/tmp/orrery-pg-", 15) != 0)
		return;
	pid = fork();
	if (pid == 0) {
		execl("/bin/rm", "rm", "-rf", server->folder, (char *)NULL);
		_exit(127);
	}
	waitpid(pid, NULL, 0);
}

/* Any SQL, several statements too. Aborts when it fails. Gives the first value of the
 * last statement's first row, or "" -- in static memory, until the next call. */
PG_SERVER const char *pg_server_run(const struct pg_server *server, const char *sql)
{
	static char value[256];
	PGconn *connection = PQconnectdb(server->url);
	PGresult *result = PQexec(connection, sql);
	ExecStatusType status = PQresultStatus(result);

	if (status != PGRES_COMMAND_OK && status != PGRES_TUPLES_OK) {
		fprintf(stderr, "pg_server: %s: %s\n", sql, PQerrorMessage(connection));
		abort();
	}
	value[0] = '\0';
	if (PQntuples(result) > 0 && PQnfields(result) > 0)
		snprintf(value, sizeof(value), "%s", PQgetvalue(result, 0, 0));
	PQclear(result);
	PQfinish(connection);
	return value;
}

#endif
