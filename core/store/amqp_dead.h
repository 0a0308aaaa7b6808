/* SPDX-License-Identifier: MIT */
/* amqp_dead.h -- dead letters of a queue: looking at them, sending them back, dropping
 * one. For a command: everything waits for the broker's answer, on the caller's thread.
 *
 * What a consumer could not take lies in `<queue>.dead`, the oldest first (amqp.h).
 *
 * Looking takes letters out (basic.get) and puts all of them back where they were, also
 * when it ends badly: the broker does that by itself when a connection ends. The dead
 * queue is a classic one, so nothing counts how often, and nothing is dropped for it; the
 * letters are marked as redelivered, which no consumer ever sees. Meanwhile, some
 * milliseconds, who looks at the same time finds the rest only.
 *
 * Replaying publishes a letter to the queue it came from, and to no other (the default
 * exchange leads to a queue by its name), with its id, headers and body, and waits for
 * the broker's confirm; only then is it taken out of the dead queue. So it is there at
 * least once at any moment: when all ends in between it is in both, under the same id.
 * The earlier attempts are not counted any more; the deaths are. A consumer sees the
 * exchange and routing key of the first time (amqp_intake.c reads the history).
 *
 * Invariants
 *   - a letter that is out was taken on the channel that is open: it is settled, or goes
 *     back with the channel.
 */
#ifndef STORE_AMQP_DEAD_H
#define STORE_AMQP_DEAD_H

#include "base/fault.h"
#include "store/amqp.h"
#include "store/amqp_history.h"

struct amqp_dead;

struct amqp_dead_letter { /* borrowed during the call */
	struct slice message_id; /* empty: it has none */
	struct slice content_type;
	struct slice body;
	struct amqp_death death; /* of this letter, here */
	const struct amqp_header *headers; /* those that are texts */
	size_t header_count;
};

typedef void amqp_dead_see_fn(void *context, const struct amqp_dead_letter *letter);

/* Connects. NULL with why: bad_input for a malformed url, else unavailable. */
struct amqp_dead *amqp_dead_open(const char *url, struct fault *why);
void amqp_dead_close(struct amqp_dead *dead); /* NULL is allowed */

/* Shows the oldest letters, `most` at most; *count is how many there are. missing: nobody
 * has consumed the queue yet. */
bool amqp_dead_look(struct amqp_dead *dead, struct slice queue, uint32_t most,
		    amqp_dead_see_fn *see, void *context, uint32_t *count,
		    struct fault *why);

/* Sends back the letters that were there when it began; of those with this id, when it is
 * not empty, the oldest. *moved is also right when it fails. missing: there is no such
 * letter; refused: there is no queue to send it to, or it takes none. */
bool amqp_dead_replay(struct amqp_dead *dead, struct slice queue, struct slice id,
		      uint32_t *moved, struct fault *why);

/* Deletes the oldest letter with this id. missing: there is none. */
bool amqp_dead_drop(struct amqp_dead *dead, struct slice queue, struct slice id,
		    struct fault *why);

#endif
