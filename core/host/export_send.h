/* SPDX-License-Identifier: MIT */
/* export_send.h -- one signal on its way to the collector: fill, queue, post, try again.
 *
 *     filling --full, old or flushed--> queued --> posting --2xx--> gone (sent)
 *     posting --429 502 503 504, connection lost or refused, timeout--> pause --> posting
 *     posting --anything else, or all of it after give_up_ms--> dropped
 *
 * One post at a time. A partial success is never repeated. Retry-After wins over the
 * back-off. Every item ends up either sent or counted as dropped with a reason:
 *   queue_full   nobody took them in time
 *   rejected     the collector said so (partial success)
 *   refused      the collector answered with a status that forbids repeating, or nonsense
 *   gave_up      repeated for give_up_ms in vain
 *   shutdown     the process ended first
 *
 * Invariants
 *   - filling + queued items <= queue_max, unless draining.
 *   - at most one of posting and pausing.
 */
#ifndef HOST_EXPORT_SEND_H
#define HOST_EXPORT_SEND_H

#include "host/otel.h"
#include "loop/loop.h"
#include "watch/otlp.h"

struct http_client;
struct export_sender;

struct export_sender_config {
	struct loop *loop;
	struct http_client *client;
	enum otlp_signal signal;
	const struct otel_exporter *exporter; /* borrowed */
	struct otel_batch batch;
	const struct attr *resource; /* borrowed */
	size_t resource_count;
	int give_up_ms;
	int backoff_ms; /* before the first repetition; grows by half */
	loop_fn *progressed; /* after each post: there may be room, or it may be idle */
	void *context;
};

struct export_sender *export_sender_create(const struct export_sender_config *config);
void export_sender_destroy(struct export_sender *sender);

/* How many more items may be added now. */
size_t export_sender_room(const struct export_sender *sender);

/* The collector is not taking anything just now. */
bool export_sender_pausing(const struct export_sender *sender);

/* Add items to this, then say so; added may close the batch. */
struct otlp_batch *export_sender_batch(struct export_sender *sender);
void export_sender_added(struct export_sender *sender);

/* Counts items that were not added. */
void export_sender_drop(struct export_sender *sender, size_t count, const char *reason);

/* Closes the batch being filled, however small. A queue that waits in a pause stays
 * there. */
void export_sender_flush(struct export_sender *sender);

/* From now on: no pauses, no bound on the queue, each batch gets one attempt that ends by
 * deadline; after a failed one the rest is dropped. */
void export_sender_drain(struct export_sender *sender, struct mono deadline);

/* Drops what is queued, the batch being posted included. */
void export_sender_abandon(struct export_sender *sender);

/* Nothing is filling, queued or posting. */
bool export_sender_idle(const struct export_sender *sender);

void export_sender_check(const struct export_sender *sender);

#endif
