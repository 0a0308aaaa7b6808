/* SPDX-License-Identifier: MIT */
#include "store/amqp_link.h"

#include "base/check.h"
#include "loop/mailbox.h"
#include "watch/log.h"
#include "watch/metrics.h"

#include <amqp.h>
#include <amqp_framing.h>
#include <amqp_tcp_socket.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>

#define BACKOFF_FIRST_MS 200
#define BACKOFF_MAX_MS 5000
#define FRAME_MAX 131072
#define SEND_BUFFER (512 * 1024)
#define CLOSE_WAIT_S 1

struct amqp_bytes_t_ amqp_link_bytes(struct slice s)
{
	return (amqp_bytes_t){ s.size, (void *)(uintptr_t)s.at };
}

static struct timeval timeval_ms(int ms)
{
	return (struct timeval){ ms / 1000, (ms % 1000) * 1000 };
}

bool amqp_endpoint_init(struct amqp_endpoint *endpoint, const char *url, const char *name,
			struct fault *why)
{
	struct amqp_connection_info parts;
	char *copy = mem_copy(url, strlen(url));

	amqp_default_connection_info(&parts);
	if (amqp_parse_url(copy, &parts) != AMQP_STATUS_OK || parts.ssl) {
		free(copy);
		return fault_set(why, FAULT_bad_input,
				 "the broker's address must read "
				 "amqp://user:password@host:port/vhost");
	}
	*endpoint = (struct amqp_endpoint){ .parsed = copy,
					    .host = parts.host,
					    .port = parts.port,
					    .user = parts.user,
					    .password = parts.password,
					    .vhost = parts.vhost };
	endpoint->name = mem_copy(name, strlen(name));
	return true;
}

void amqp_endpoint_finish(struct amqp_endpoint *endpoint)
{
	free(endpoint->parsed);
	free(endpoint->name);
	*endpoint = (struct amqp_endpoint){ 0 };
}

void amqp_link_init(struct amqp_link *link, const struct amqp_endpoint *endpoint,
		    const struct observer *observer, const char *role)
{
	*link = (struct amqp_link){
		.endpoint = endpoint, .observer = observer, .role = role, .fd = -1
	};
	random_init_secure(&link->random);
	atomic_init(&link->state, AMQP_LINK_unused);
	atomic_init(&link->reason, "");
}

static void link_show(struct amqp_link *link, enum amqp_link_state state,
		      const char *reason)
{
	atomic_store(&link->reason, reason);
	atomic_store(&link->state, state);
	series_set(meter_own(link->observer->meter, METRIC_amqp_connected, 1,
			     slice_text(link->role)),
		   state == AMQP_LINK_open || state == AMQP_LINK_blocked);
}

/* What the broker says in connection.close or channel.close, or what the library says.
 * Gives whether the whole connection is affected. */
static bool reply_fault(const amqp_rpc_reply_t *reply, const char **reason,
			struct fault *why)
{
	*reason = "the broker closed the connection";
	if (reply->reply_type == AMQP_RESPONSE_LIBRARY_EXCEPTION) {
		*reason = amqp_error_string2(reply->library_error);
		fault_set(why, FAULT_unavailable, "%s", *reason);
		return true;
	}
	if (reply->reply_type != AMQP_RESPONSE_SERVER_EXCEPTION) {
		fault_set(why, FAULT_unavailable, "%s", *reason);
		return true;
	}
	if (reply->reply.id == AMQP_CHANNEL_CLOSE_METHOD) {
		const amqp_channel_close_t *close = reply->reply.decoded;

		fault_set(why,
			  close->reply_code == AMQP_NOT_FOUND ? FAULT_missing
							      : FAULT_refused,
			  "the broker answers %u %.*s", close->reply_code,
			  (int)close->reply_text.len,
			  (const char *)close->reply_text.bytes);
		return false;
	}
	if (reply->reply.id == AMQP_CONNECTION_CLOSE_METHOD) {
		const amqp_connection_close_t *close = reply->reply.decoded;

		fault_set(why, FAULT_unavailable,
			  "the broker closes the connection: %u %.*s", close->reply_code,
			  (int)close->reply_text.len,
			  (const char *)close->reply_text.bytes);
		return true;
	}
	fault_set(why, FAULT_unavailable, "an answer that was not expected: 0x%08X",
		  reply->reply.id);
	return true;
}

static void link_drop(struct amqp_link *link)
{
	if (link->connection)
		amqp_destroy_connection(link->connection);
	link->connection = NULL;
	link->fd = -1;
	link->blocked = false;
}

static void link_back_off(struct amqp_link *link)
{
	int wait_ms;

	link->backoff_ms = link->backoff_ms ? link->backoff_ms * 2 : BACKOFF_FIRST_MS;
	if (link->backoff_ms > BACKOFF_MAX_MS)
		link->backoff_ms = BACKOFF_MAX_MS;
	wait_ms = (int)(link->backoff_ms * (0.75 + random_unit(&link->random) / 2));
	link->next_try = mono_after_ms(clock_mono(), wait_ms);
}

/* A peer that takes no bytes for three heartbeats is gone; without this a write could
 * wait for ever. The send buffer is large enough that writes do not wait in ordinary
 * times. */
static void socket_prepare(const struct amqp_link *link)
{
	int yes = 1, size = SEND_BUFFER;
	unsigned gone_ms = (unsigned)(link->endpoint->heartbeat_s
					      ? link->endpoint->heartbeat_s * 3000
					      : 60000);

	setsockopt(link->fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
	setsockopt(link->fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
	setsockopt(link->fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &gone_ms, sizeof gone_ms);
}

static amqp_table_entry_t entry_true(const char *key)
{
	amqp_table_entry_t entry = { .key = amqp_cstring_bytes(key) };

	entry.value.kind = AMQP_FIELD_KIND_BOOLEAN;
	entry.value.value.boolean = 1;
	return entry;
}

static amqp_table_entry_t entry_text(const char *key, const char *text)
{
	amqp_table_entry_t entry = { .key = amqp_cstring_bytes(key) };

	entry.value.kind = AMQP_FIELD_KIND_UTF8;
	entry.value.value.bytes = amqp_cstring_bytes(text);
	return entry;
}

static amqp_rpc_reply_t link_login(struct amqp_link *link)
{
	const struct amqp_endpoint *to = link->endpoint;
	amqp_table_entry_t can[] = { entry_true("connection.blocked"),
				     entry_true("consumer_cancel_notify"),
				     entry_true("authentication_failure_close"),
				     entry_true("publisher_confirms") };
	amqp_table_entry_t about[] = { entry_text("product", "orrery"),
				       entry_text("connection_name", to->name),
				       { .key = amqp_cstring_bytes("capabilities") } };
	amqp_table_t properties = { 3, about };

	about[2].value.kind = AMQP_FIELD_KIND_TABLE;
	about[2].value.value.table = (amqp_table_t){ 4, can };
	return amqp_login_with_properties(link->connection, to->vhost, 0, FRAME_MAX,
					  to->heartbeat_s, &properties,
					  AMQP_SASL_METHOD_PLAIN, to->user, to->password);
}

bool amqp_link_open(struct amqp_link *link)
{
	struct timeval wait = timeval_ms(link->endpoint->connect_timeout_ms);
	const char *reason = "no connection";
	amqp_socket_t *socket;
	amqp_rpc_reply_t reply;
	int status;

	check(!link->connection);
	if (!link->down)
		link_show(link, AMQP_LINK_opening, "connecting");
	link->connection = amqp_new_connection();
	socket = link->connection ? amqp_tcp_socket_new(link->connection) : NULL;
	check(socket);
	status = amqp_socket_open_noblock(socket, link->endpoint->host,
					  link->endpoint->port, &wait);
	if (status != AMQP_STATUS_OK) {
		reason = amqp_error_string2(status);
		fault_set(&link->last, FAULT_unavailable, "%s", reason);
		goto fail;
	}
	link->fd = amqp_get_sockfd(link->connection);
	socket_prepare(link);
	amqp_set_handshake_timeout(link->connection, &wait);
	amqp_set_rpc_timeout(link->connection, &wait);
	reply = link_login(link);
	if (reply.reply_type != AMQP_RESPONSE_NORMAL) {
		reply_fault(&reply, &reason, &link->last);
		goto fail;
	}
	link->down = false;
	link->backoff_ms = 0;
	link_show(link, AMQP_LINK_open, "");
	return true;
fail:
	link_drop(link);
	link_back_off(link);
	if (!link->down)
		log_printf(link->observer->log, LOG_warn,
			   "the %s cannot reach the message broker at %s:%d: %s",
			   link->role, link->endpoint->host, link->endpoint->port,
			   link->last.detail);
	link->down = true;
	link_show(link, AMQP_LINK_down, reason);
	return false;
}

void amqp_link_lost(struct amqp_link *link, const struct fault *why)
{
	link->last = *why;
	link_drop(link);
	link->next_try = clock_mono();
	link_show(link, AMQP_LINK_opening, "the connection was lost");
	log_printf(link->observer->log, LOG_warn,
		   "the %s lost its connection to the message broker: %s", link->role,
		   why->detail);
}

void amqp_link_close(struct amqp_link *link)
{
	struct timeval wait = { CLOSE_WAIT_S, 0 };

	if (!link->connection)
		return;
	amqp_set_rpc_timeout(link->connection, &wait);
	amqp_connection_close(link->connection, AMQP_REPLY_SUCCESS);
	link_drop(link);
	link_show(link, AMQP_LINK_unused, "");
}

void amqp_link_wait(const struct amqp_link *link, const struct mailbox *mailbox,
		    int wait_ms, bool to_write)
{
	struct pollfd polled[2] = { { .fd = mailbox_fd(mailbox), .events = POLLIN },
				    { .fd = link->fd, .events = POLLIN } };
	int heartbeat_ms = link->endpoint->heartbeat_s * 500;

	if (link->connection && amqp_frames_enqueued(link->connection))
		wait_ms = 0;
	if (link->connection && heartbeat_ms && (wait_ms < 0 || wait_ms > heartbeat_ms))
		wait_ms = heartbeat_ms;
	if (to_write)
		polled[1].events |= POLLOUT;
	poll(polled, link->connection ? 2 : 1, wait_ms);
}

bool amqp_link_writable(const struct amqp_link *link)
{
	struct pollfd polled = { .fd = link->fd, .events = POLLOUT };

	return poll(&polled, 1, 0) == 1 &&
	       (polled.revents & (POLLOUT | POLLERR | POLLHUP));
}

/* A method on channel 0. */
static void connection_method(struct amqp_link *link, const amqp_method_t *method)
{
	struct fault why;

	if (method->id == AMQP_CONNECTION_BLOCKED_METHOD) {
		const amqp_connection_blocked_t *blocked = method->decoded;

		link->blocked = true;
		link_show(link, AMQP_LINK_blocked,
			  "the broker is short of memory or disk");
		log_printf(link->observer->log, LOG_warn,
			   "the message broker takes no messages: %.*s",
			   (int)blocked->reason.len, (const char *)blocked->reason.bytes);
	} else if (method->id == AMQP_CONNECTION_UNBLOCKED_METHOD) {
		link->blocked = false;
		link_show(link, AMQP_LINK_open, "");
		log_printf(link->observer->log, LOG_info,
			   "the message broker takes messages again");
	} else if (method->id == AMQP_CONNECTION_CLOSE_METHOD) {
		const amqp_connection_close_t *close = method->decoded;

		fault_set(&why, FAULT_unavailable, "%u %.*s", close->reply_code,
			  (int)close->reply_text.len,
			  (const char *)close->reply_text.bytes);
		amqp_link_lost(link, &why);
	}
}

bool amqp_link_frame(struct amqp_link *link, amqp_frame_t *frame)
{
	struct timeval none = { 0, 0 };
	struct fault why;
	int status;

	while (link->connection) {
		amqp_maybe_release_buffers(link->connection);
		status = amqp_simple_wait_frame_noblock(link->connection, frame, &none);
		if (status == AMQP_STATUS_TIMEOUT)
			return false;
		if (status != AMQP_STATUS_OK) {
			fault_set(&why, FAULT_unavailable, "%s",
				  amqp_error_string2(status));
			amqp_link_lost(link, &why);
			return false;
		}
		if (frame->channel != 0)
			return true;
		if (frame->frame_type == AMQP_FRAME_METHOD)
			connection_method(link, &frame->payload.method);
	}
	return false;
}

void amqp_link_channel_closed(struct amqp_link *link, unsigned channel)
{
	amqp_channel_close_ok_t ok = { 0 };

	if (link->connection)
		amqp_send_method(link->connection, (amqp_channel_t)channel,
				 AMQP_CHANNEL_CLOSE_OK_METHOD, &ok);
}

bool amqp_link_answer(struct amqp_link *link, unsigned channel, struct fault *why)
{
	amqp_rpc_reply_t reply = amqp_get_rpc_reply(link->connection);
	const char *reason;

	if (reply.reply_type == AMQP_RESPONSE_NORMAL)
		return true;
	if (reply_fault(&reply, &reason, why))
		amqp_link_lost(link, why);
	else
		amqp_link_channel_closed(link, channel);
	return false;
}

void amqp_link_close_channel(struct amqp_link *link, unsigned channel)
{
	amqp_rpc_reply_t reply = amqp_channel_close(
		link->connection, (amqp_channel_t)channel, AMQP_REPLY_SUCCESS);
	const char *reason;
	struct fault why;

	if (reply.reply_type == AMQP_RESPONSE_NORMAL)
		return;
	if (reply_fault(&reply, &reason, &why))
		amqp_link_lost(link, &why);
	else
		amqp_link_channel_closed(link, channel);
}

bool amqp_link_open_channel(struct amqp_link *link, unsigned channel, struct fault *why)
{
	amqp_channel_open(link->connection, (amqp_channel_t)channel);
	return amqp_link_answer(link, channel, why);
}

bool amqp_link_exchange(struct amqp_link *link, unsigned channel, struct slice name,
			struct fault *why)
{
	amqp_exchange_declare(link->connection, (amqp_channel_t)channel,
			      amqp_link_bytes(name), amqp_cstring_bytes("topic"), 0, 1, 0,
			      0, amqp_empty_table);
	return amqp_link_answer(link, channel, why);
}

bool amqp_link_healthy(const struct amqp_link *link, struct fault *why)
{
	int state = atomic_load(&link->state);

	if (state == AMQP_LINK_open || state == AMQP_LINK_unused)
		return true;
	return fault_set(why, FAULT_unavailable, "%s: %s", link->role,
			 atomic_load(&link->reason));
}
