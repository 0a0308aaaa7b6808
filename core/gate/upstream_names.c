/* SPDX-License-Identifier: MIT */
/* upstream_names.c -- from what a definition says to the addresses there are.
 *
 *     text --> URLs --> places (host and port) --> addresses
 *         \--> files --> URLs
 *
 * Whatever changes, a text or what a name stands for, all of it is followed anew: places
 * and files that are no longer wanted are forgotten, new ones begin. Numbers stand for
 * themselves; a name has no address until its first lookup has ended. The answer to a
 * lookup is sorted: name servers give it in an order that changes. */
#include "gate/upstream_inside.h"

#include "base/check.h"
#include "http/client_lookup.h"
#include "http/http_url.h"
#include "watch/log.h"

#include <stdlib.h>

struct gate_place {
	struct list member;
	struct gate_upstream *upstream;
	char *host;
	unsigned port;
	bool numeric, wanted;
	struct http_addresses addresses;
	struct client_lookup *lookup; /* under way */
	struct timer timer; /* until the next one */
};

struct gate_file {
	struct list member;
	struct gate_upstream *upstream;
	char *path;
	struct buf text; /* the last that was good */
	bool wanted, silent; /* silent: the log knows of its trouble */
	struct timer timer;
};

/* --- what there is now ------------------------------------------------------------ */

static void collect(struct gate_upstream *upstream)
{
	struct http_address *all =
		mem_zeroed(GATE_ADDRESSES_MAX, sizeof(struct http_address));
	size_t count = 0, left_out = upstream->places_left_out;

	for (struct list *at = upstream->places.next; at != &upstream->places;
	     at = at->next) {
		const struct gate_place *place = list_of(at, struct gate_place, member);

		for (size_t i = 0; i < place->addresses.count; i++)
			if (count < GATE_ADDRESSES_MAX)
				all[count++] = place->addresses.list[i];
			else
				left_out++;
	}
	if (left_out > 0 && !upstream->too_many)
		log_printf(loop_observer(upstream->upstreams->loop)->log, LOG_warn,
			   "upstream %.*s has more than %d addresses: the rest is not "
			   "used",
			   SLICE_PRINT(upstream->def.name), GATE_ADDRESSES_MAX);
	upstream->too_many = left_out > 0;
	upstream_collect(upstream, all, count);
	free(all);
}

/* --- places ----------------------------------------------------------------------- */

static void on_place_due(void *context);

static void place_again(struct gate_place *place)
{
	struct loop *loop = place->upstream->upstreams->loop;

	timer_start(loop, &place->timer,
		    mono_after_ms(loop_now(loop), place->upstream->def.resolve_ms),
		    on_place_due, place);
}

static int compare_addresses(const void *left, const void *right)
{
	const struct http_address *a = left, *b = right;

	if (a->size != b->size)
		return a->size < b->size ? -1 : 1;
	return memcmp(&a->at, &b->at, a->size);
}

static void on_looked_up(void *context, const struct http_addresses *addresses,
			 const struct fault *why)
{
	struct gate_place *place = context;
	struct gate_upstream *upstream = place->upstream;

	place->lookup = NULL;
	place_again(place);
	if (addresses == NULL) {
		upstream->trouble = *why;
		return;
	}
	place->addresses = *addresses;
	qsort(place->addresses.list, place->addresses.count,
	      sizeof(place->addresses.list[0]), compare_addresses);
	collect(upstream);
}

static void on_place_due(void *context)
{
	struct gate_place *place = context;
	struct gate_upstream *upstream = place->upstream;

	place->lookup =
		client_lookup_start(upstream->upstreams->lookups, slice_text(place->host),
				    place->port, on_looked_up, place, &upstream->trouble);
	if (place->lookup == NULL)
		place_again(place);
}

static struct gate_place *place_find(struct gate_upstream *upstream,
				     const struct http_url *url)
{
	for (struct list *at = upstream->places.next; at != &upstream->places;
	     at = at->next) {
		struct gate_place *place = list_of(at, struct gate_place, member);

		if (place->port == url->port &&
		    slice_equal_nocase(slice_text(place->host), url->host))
			return place;
	}
	return NULL;
}

static void place_create(struct gate_upstream *upstream, const struct http_url *url)
{
	struct gate_place *place = mem_zeroed(1, sizeof(*place));

	place->upstream = upstream;
	place->host = mem_copy(url->host.at, url->host.size);
	place->port = url->port;
	place->wanted = true;
	place->numeric = client_lookup_numeric(url->host, url->port, &place->addresses);
	list_append(&upstream->places, &place->member);
	if (!place->numeric)
		on_place_due(place);
}

/* A shorter resolve_ms holds from now on. */
static void place_keep(struct gate_place *place)
{
	struct loop *loop = place->upstream->upstreams->loop;
	struct mono latest =
		mono_after_ms(loop_now(loop), place->upstream->def.resolve_ms);

	place->wanted = true;
	if (timer_started(&place->timer) && latest.ns < place->timer.due.ns)
		place_again(place);
}

static void place_destroy(struct gate_place *place)
{
	client_lookup_forget(place->lookup);
	timer_stop(place->upstream->upstreams->loop, &place->timer);
	list_remove(&place->member);
	free(place->host);
	free(place);
}

/* --- files ------------------------------------------------------------------------ */

/* True: its text is another now. */
static bool file_look(struct gate_file *file)
{
	struct gate_upstream *upstream = file->upstream;
	struct buf text = { 0 };
	struct fault why;

	if (upstream_file_load(file->path, &text, &why)) {
		struct buf before = file->text;
		bool other = !slice_equal(buf_slice(&text), buf_slice(&before));

		file->silent = false;
		file->text = text;
		buf_finish(&before);
		return other;
	}
	buf_finish(&text);
	fault_set(&upstream->trouble, why.kind, "%.80s: %.140s", file->path, why.detail);
	if (!file->silent)
		log_printf(loop_observer(upstream->upstreams->loop)->log, LOG_warn,
			   "upstream %.*s keeps its addresses: %s",
			   SLICE_PRINT(upstream->def.name), upstream->trouble.detail);
	file->silent = true;
	return false;
}

static void on_file_due(void *context);

static void file_again(struct gate_file *file)
{
	struct loop *loop = file->upstream->upstreams->loop;

	timer_start(loop, &file->timer,
		    mono_after_ms(loop_now(loop), file->upstream->def.resolve_ms),
		    on_file_due, file);
}

static void on_file_due(void *context)
{
	struct gate_file *file = context;

	file_again(file);
	if (file_look(file))
		upstream_names_follow(file->upstream);
}

static void file_destroy(struct gate_file *file)
{
	timer_stop(file->upstream->upstreams->loop, &file->timer);
	list_remove(&file->member);
	buf_finish(&file->text);
	free(file->path);
	free(file);
}

/* --- following -------------------------------------------------------------------- */

static void want_place(void *context, const struct http_url *url, struct slice path)
{
	struct gate_upstream *upstream = context;
	struct gate_place *place = place_find(upstream, url);

	if (place && place->wanted)
		return;
	if (upstream->places_wanted == GATE_ADDRESSES_MAX) {
		upstream->places_left_out++;
		return;
	}
	upstream->places_wanted++;
	if (place)
		place_keep(place);
	else
		place_create(upstream, url);
}

static void want_file(struct gate_upstream *upstream, struct slice path)
{
	struct gate_file *file;

	for (struct list *at = upstream->files.next; at != &upstream->files;
	     at = at->next) {
		file = list_of(at, struct gate_file, member);
		if (slice_equal(slice_text(file->path), path)) {
			file->wanted = true;
			return;
		}
	}
	file = mem_zeroed(1, sizeof(*file));
	file->upstream = upstream;
	file->path = mem_copy(path.at, path.size);
	file->wanted = true;
	list_append(&upstream->files, &file->member);
	file_look(file);
	file_again(file);
}

static void want(void *context, const struct http_url *url, struct slice path)
{
	if (url)
		want_place(context, url, path);
	else
		want_file(context, path);
}

static void sweep(struct gate_upstream *upstream)
{
	struct list *at, *next;

	for (at = upstream->places.next; at != &upstream->places; at = next) {
		struct gate_place *place = list_of(at, struct gate_place, member);

		next = at->next;
		if (!place->wanted)
			place_destroy(place);
	}
	for (at = upstream->files.next; at != &upstream->files; at = next) {
		struct gate_file *file = list_of(at, struct gate_file, member);

		next = at->next;
		if (!file->wanted)
			file_destroy(file);
	}
}

static void unwant(struct gate_upstream *upstream)
{
	struct list *at;

	upstream->places_wanted = upstream->places_left_out = 0;
	for (at = upstream->places.next; at != &upstream->places; at = at->next)
		list_of(at, struct gate_place, member)->wanted = false;
	for (at = upstream->files.next; at != &upstream->files; at = at->next)
		list_of(at, struct gate_file, member)->wanted = false;
}

void upstream_names_follow(struct gate_upstream *upstream)
{
	struct fault why;

	unwant(upstream);
	if (!upstream_text_read(upstream->def.addresses, true, want, upstream, &why)) {
		upstream->trouble = why;
		log_printf(loop_observer(upstream->upstreams->loop)->log, LOG_error,
			   "upstream %.*s: %s", SLICE_PRINT(upstream->def.name),
			   why.detail);
	}
	for (struct list *at = upstream->files.next; at != &upstream->files;
	     at = at->next) {
		const struct gate_file *file = list_of(at, struct gate_file, member);

		if (file->wanted)
			upstream_text_read(buf_slice(&file->text), false, want_place,
					   upstream, &why);
	}
	sweep(upstream);
	collect(upstream);
}

void upstream_names_forget(struct gate_upstream *upstream)
{
	unwant(upstream);
	sweep(upstream);
}
