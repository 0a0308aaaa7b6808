/* SPDX-License-Identifier: MIT */
/* amqp_broker.h -- a private RabbitMQ for a test: folder, ports, port mapper and node
 * name of its own, ended by process id. Everything is static, so that a test only
 * includes it.
 *
 *     struct amqp_broker broker;
 *     amqp_broker_create(&broker);          start and wait; broker.url leads to it
 *     amqp_broker_kill(&broker);            as a crash (SIGKILL)
 *     amqp_broker_start(&broker);           again, same ports and data
 *     amqp_broker_control(&broker, a, b);   rabbitmqctl a b
 *     amqp_broker_destroy(&broker);         ends both processes, removes the folder
 *
 * When the test dies, the kernel ends both. amqp_broker_found is false where none is
 * installed.
 */
#ifndef STORE_AMQP_BROKER_H
#define STORE_AMQP_BROKER_H

#include "free_port.h"

#include <arpa/inet.h>
#include <fcntl.h>
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

#define BROKER_PROGRAM "/usr/lib/rabbitmq/bin/rabbitmq-server"

struct amqp_broker {
	pid_t broker;
	pid_t mapper;
	int port;
	int node_port;
	int mapper_port;
	char folder[64];
	char url[96];
};

static void broker_die(const char *what)
{
	perror(what);
	abort();
}

static bool amqp_broker_found(void)
{
	return access(BROKER_PROGRAM, X_OK) == 0 && access("/usr/bin/epmd", X_OK) == 0;
}

static int broker_socket(int port)
{
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons(port) };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int status;

	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	if (port)
		status = connect(fd, (struct sockaddr *)&address, sizeof address);
	else
		status = bind(fd, (struct sockaddr *)&address, sizeof address);
	if (status == 0)
		return fd;
	close(fd);
	return -1;
}

static void broker_set(const char *name, const char *format, const char *text, int number)
{
	char value[160];

	snprintf(value, sizeof value, format, text, number);
	setenv(name, value, 1);
}

/* In the child: everything RabbitMQ would otherwise look for in places of the machine. */
static void broker_environment(const struct amqp_broker *broker)
{
	const char *folder = broker->folder;

	broker_set("HOME", "%s", folder, 0);
	broker_set("RABBITMQ_NODENAME", "%sn%d@127.0.0.1", "", broker->port);
	broker_set("RABBITMQ_USE_LONGNAME", "%s", "true", 0);
	broker_set("RABBITMQ_NODE_IP_ADDRESS", "%s", "127.0.0.1", 0);
	broker_set("RABBITMQ_NODE_PORT", "%s%d", "", broker->port);
	broker_set("RABBITMQ_DIST_PORT", "%s%d", "", broker->node_port);
	broker_set("ERL_EPMD_PORT", "%s%d", "", broker->mapper_port);
	broker_set("ERL_EPMD_ADDRESS", "%s", "127.0.0.1", 0);
	broker_set("RABBITMQ_CONF_ENV_FILE", "%s/env.conf", folder, 0);
	broker_set("RABBITMQ_CONFIG_FILE", "%s/rabbitmq", folder, 0);
	broker_set("RABBITMQ_ADVANCED_CONFIG_FILE", "%s/advanced", folder, 0);
	broker_set("RABBITMQ_ENABLED_PLUGINS_FILE", "%s/plugins.enabled", folder, 0);
	broker_set("RABBITMQ_MNESIA_BASE", "%s/data", folder, 0);
	broker_set("RABBITMQ_LOG_BASE", "%s/log", folder, 0);
	broker_set("RABBITMQ_LOGS", "%s", "-", 0);
	broker_set("RABBITMQ_PID_FILE", "%s/pid", folder, 0);
	broker_set("RABBITMQ_GENERATED_CONFIG_DIR", "%s/generated", folder, 0);
	broker_set("RABBITMQ_PLUGINS_EXPAND_DIR", "%s/expanded", folder, 0);
	broker_set("RABBITMQ_ALLOW_INPUT", "%s", "true",
		   0); /* the script becomes the node */
	broker_set("RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS",
		   "-noinput +S 1:1 +sbwt none -start_epmd false "
		   "-kernel inet_dist_use_interface {127,0,0,1}%s",
		   "", 0);
	broker_set("ERL_CRASH_DUMP", "%s", "/dev/null", 0);
}

static pid_t broker_spawn(const struct amqp_broker *broker, const char *const *arguments)
{
	char log[96];
	pid_t pid = fork();

	if (pid < 0)
		broker_die("fork");
	if (pid > 0)
		return pid;
	snprintf(log, sizeof log, "%s/output", broker->folder);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	dup2(open("/dev/null", O_RDONLY), 0);
	dup2(open(log, O_WRONLY | O_CREAT | O_APPEND, 0600), 1);
	dup2(1, 2);
	broker_environment(broker);
	if (chdir(broker->folder) == 0)
		execv(arguments[0], (char *const *)(size_t)arguments);
	_exit(127);
}

static void broker_wait_port(int port, pid_t pid)
{
	struct timespec pause = { 0, 50000000 };

	for (int i = 0; i < 1800; i++) {
		int fd = broker_socket(port);

		if (fd >= 0) {
			close(fd);
			return;
		}
		if (waitpid(pid, NULL, WNOHANG) == pid)
			break;
		nanosleep(&pause, NULL);
	}
	broker_die("the broker does not start");
}

/* Waits until it listens. */
static void amqp_broker_start(struct amqp_broker *broker)
{
	static const char *const arguments[] = { BROKER_PROGRAM, NULL };

	broker->broker = broker_spawn(broker, arguments);
	broker_wait_port(broker->port, broker->broker);
}

static void amqp_broker_create(struct amqp_broker *broker)
{
	char port[16], path[96];
	const char *const arguments[] = { "/usr/bin/epmd", "-address", "127.0.0.1",
					  "-port",	   port,       NULL };
	FILE *file;

	memset(broker, 0, sizeof *broker);
	strcpy(broker->folder, "/tmp/orrery-mq-XXXXXX");
	if (!mkdtemp(broker->folder))
		broker_die("mkdtemp");
	broker->port = free_port();
	broker->node_port = free_port();
	broker->mapper_port = free_port();
	snprintf(broker->url, sizeof broker->url, "amqp://guest:guest@127.0.0.1:%d/%%2F",
		 broker->port);
	snprintf(path, sizeof path, "%s/rabbitmq.conf", broker->folder);
	file = fopen(path, "w");
	fprintf(file, "vm_memory_high_watermark.absolute = 256MB\n"
		      "disk_free_limit.absolute = 10MB\n"
		      "raft.wal_max_size_bytes = 16000000\n"
		      "log.console.level = warning\n");
	fclose(file);
	snprintf(path, sizeof path, "%s/plugins.enabled", broker->folder);
	file = fopen(path, "w");
	fprintf(file, "[].\n");
	fclose(file);
	snprintf(port, sizeof port, "%d", broker->mapper_port);
	broker->mapper = broker_spawn(broker, arguments);
	broker_wait_port(broker->mapper_port, broker->mapper);
	amqp_broker_start(broker);
}

__attribute__((unused)) static void amqp_broker_control(const struct amqp_broker *broker,
							const char *command,
							const char *argument)
{
	const char *const arguments[] = { "/usr/lib/rabbitmq/bin/rabbitmqctl", command,
					  argument, NULL };
	int status;

	if (waitpid(broker_spawn(broker, arguments), &status, 0) < 0 || status != 0)
		broker_die(command);
}

static void broker_end(pid_t *pid)
{
	if (*pid > 0) {
		kill(*pid, SIGKILL);
		waitpid(*pid, NULL, 0);
	}
	*pid = 0;
}

__attribute__((unused)) static void amqp_broker_kill(struct amqp_broker *broker)
{
	broker_end(&broker->broker);
}

static void amqp_broker_destroy(struct amqp_broker *broker)
{
	pid_t pid;

	broker_end(&broker->broker);
	broker_end(&broker->mapper);
	if (strncmp(broker->folder, "/tmp/orrery-mq-", 15) != 0)
		return;
	pid = fork();
	if (pid == 0) {
		execl("/bin/rm", "rm", "-rf", broker->folder, (char *)NULL);
		_exit(127);
	}
	waitpid(pid, NULL, 0);
}

#endif
