/* SPDX-License-Identifier: MIT */
#include "host/worker_ports.h"

#include "host/conf.h"

#define ADMIN_REQUESTS 64 /* /ready and /metrics are answered by a full service, too */
#define ADMIN_CONNECTIONS 256

static struct http_server_config config_of(const struct worker_ports_config *config)
{
	const struct conf *conf = config->conf;

	return (struct http_server_config){
		.host = slice_text(conf->host),
		.body_size_max = conf->body_size_max,
		.requests_max = conf->tasks_max + conf->queue_max + ADMIN_REQUESTS,
		.connections_max = conf->connections_max,
		.arriving_max = (size_t)conf->arriving_max_mb << 20,
		.http2 = conf->http2,
		.idle_timeout_ms = (int)conf->idle_timeout_ms,
		.request_timeout_ms = (int)conf->request_timeout_ms,
		.trusted_proxies = slice_text(conf->trusted_proxies),
		.handler = config->serve,
		.refused = config->refused,
		.context = config->context,
	};
}

static bool listen_apart(struct worker_ports *ports,
			 const struct worker_ports_config *config, struct fault *why)
{
	const struct conf *conf = config->conf;
	struct http_server_config own = config_of(config);

	if (*conf->admin_host)
		own.host = slice_text(conf->admin_host);
	own.port = conf->admin_port;
	own.requests_max = ADMIN_REQUESTS;
	own.connections_max = ADMIN_CONNECTIONS;
	own.handler = config->serve_operators;
	ports->operators = http_server_create(config->loop, &own, config->first, why);
	return ports->operators;
}

unsigned worker_ports_listen(struct worker_ports *ports,
			     const struct worker_ports_config *config, unsigned port,
			     struct fault *why)
{
	struct http_server_config own = config_of(config);

	own.port = port;
	own.tls_certificate = config->conf->tls_certificate;
	own.tls_key = config->conf->tls_key;
	ports->clients = http_server_create(config->loop, &own, config->first, why);
	if (!ports->clients)
		return 0;
	if (config->conf->admin_port && !listen_apart(ports, config, why))
		return 0;
	return http_server_port(ports->clients);
}

void worker_ports_quiesce(struct worker_ports *ports)
{
	if (ports->clients)
		http_server_quiesce(ports->clients);
	if (ports->operators)
		http_server_quiesce(ports->operators);
}

void worker_ports_drain(struct worker_ports *ports)
{
	if (ports->clients)
		http_server_drain(ports->clients);
	if (ports->operators)
		http_server_quiesce(ports->operators);
}

bool worker_ports_end(struct worker_ports *ports)
{
	if (ports->operators)
		http_server_drain(ports->operators);
	return worker_ports_connections(ports) == 0;
}

unsigned worker_ports_clients(const struct worker_ports *ports)
{
	return ports->clients ? http_server_connections(ports->clients) : 0;
}

unsigned worker_ports_connections(const struct worker_ports *ports)
{
	return worker_ports_clients(ports) +
	       (ports->operators ? http_server_connections(ports->operators) : 0);
}

void worker_ports_close(struct worker_ports *ports)
{
	http_server_destroy(ports->clients);
	http_server_destroy(ports->operators);
	*ports = (struct worker_ports){ 0 };
}
