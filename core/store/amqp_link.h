/* SPDX-License-Identifier: MIT */
/* amqp_link.h -- one connection to the broker, held by one thread that may block.
 *
 *     closed --amqp_link_open--> open --amqp_link_lost / amqp_link_close--> closed
 *
 * A failed attempt sets the time of the next one: 200 ms doubling to 5 s, with jitter. A
 * lost connection is tried again at once.
 *
 * The broker's connection.blocked (it is short of memory or disk and reads no more) is
 * announced and heard here; a publisher keeps still meanwhile.
 *
 * Reading never waits: a thread waits in amqp_link_wait only, where mail wakes it too.
 * Declaring things waits for the broker's answer, at most the connect timeout.
 */
#ifndef STORE_AMQP_LINK_H
#define STORE_AMQP_LINK_H

#include "base/clock.h"
#include "base/fault.h"
#include "base/random.h"

#include <stdatomic.h>

struct amqp_connection_state_t_;
struct amqp_bytes_t_;
struct amqp_frame_t_;
struct amqp_rpc_reply_t_;
struct mailbox;
struct observer;

struct amqp_endpoint { /* shared by both links, read only */
	char *parsed; /* the url, cut into the pieces below */
	const char *host;
	int port;
	const char *user;
	const char *password;
	const char *vhost;
	char *name; /* of the connection */
	int connect_timeout_ms;
	int heartbeat_s;
};

/* Fills endpoint. bad_input: the url is malformed. The password is never part of why. */
bool amqp_endpoint_init(struct amqp_endpoint *endpoint, const char *url, const char *name,
			struct fault *why);
void amqp_endpoint_finish(struct amqp_endpoint *endpoint);

enum amqp_link_state {
	AMQP_LINK_unused,
	AMQP_LINK_opening,
	AMQP_LINK_open,
	AMQP_LINK_blocked,
	AMQP_LINK_down
};

struct amqp_link {
	const struct amqp_endpoint *endpoint;
	const struct observer *observer;
	const char *role; /* "publisher" or "consumer" */
	struct amqp_connection_state_t_ *connection; /* NULL: closed */
	int fd;
	bool blocked;
	bool down; /* the last attempt failed; nothing is open */
	int backoff_ms;
	struct mono next_try;
	struct random random;
	struct fault last; /* why it is not open */
	/* For amqp_link_healthy: the only members other threads read. */
	_Atomic int state;
	_Atomic(const char *) reason; /* a literal of the library */
};

void amqp_link_init(struct amqp_link *link, const struct amqp_endpoint *endpoint,
		    const struct observer *observer, const char *role);

/* Connects and logs in. False: try again at link->next_try; link->last says why. */
bool amqp_link_open(struct amqp_link *link);

/* The connection broke, or is of no use any more: closed without a word to the broker. */
void amqp_link_lost(struct amqp_link *link, const struct fault *why);

/* Tells the broker, waits for its answer up to a second. */
void amqp_link_close(struct amqp_link *link);

/* Waits until there is mail, something to read, room to write (if asked for) or wait_ms
 * passed. A closed link waits for mail only. */
void amqp_link_wait(const struct amqp_link *link, const struct mailbox *mailbox,
		    int wait_ms, bool to_write);

/* Whether a message of ordinary size can be written without waiting. */
bool amqp_link_writable(const struct amqp_link *link);

/* The next frame that has come, valid until the next call; false: none, or the link was
 * lost. Sends heartbeats. What concerns the whole connection is dealt with here. */
bool amqp_link_frame(struct amqp_link *link, struct amqp_frame_t_ *frame);

/* Looks at the answer to what was just asked on a channel. False: why says what the
 * broker says; the channel is closed (and may be opened again), or the link is lost. */
bool amqp_link_answer(struct amqp_link *link, unsigned channel, struct fault *why);

/* Answers the broker's channel.close. */
void amqp_link_channel_closed(struct amqp_link *link, unsigned channel);

/* Waits for the broker's answer. */
void amqp_link_close_channel(struct amqp_link *link, unsigned channel);

bool amqp_link_open_channel(struct amqp_link *link, unsigned channel, struct fault *why);

/* A durable topic exchange. */
bool amqp_link_exchange(struct amqp_link *link, unsigned channel, struct slice name,
			struct fault *why);

/* The same bytes as the library has them. */
struct amqp_bytes_t_ amqp_link_bytes(struct slice s);

/* Any thread. */
bool amqp_link_healthy(const struct amqp_link *link, struct fault *why);

#endif
