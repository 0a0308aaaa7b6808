/* SPDX-License-Identifier: MIT */
/* cmd_dead.c -- orrery dead SERVICE: what lies in the dead-letter queues of a service;
 * sending it back, or dropping one.
 *
 * What was seen is gathered first and printed when all is back in its place: a reader
 * that is slow, like a pager, keeps no letter away from others.
 */
#include "host/command.h"

#include "api/service.h"
#include "base/check.h"
#include "base/hex.h"
#include "base/json.h"
#include "base/utf8.h"
#include "host/dry.h"
#include "store/amqp_dead.h"

#include <stdio.h>
#include <stdlib.h>

#define SHOWN_DEFAULT 10
#define SHOWN_MOST 100000
#define BODY_SHOWN 200 /* bytes of a body, for people */
#define TEXT_SHOWN 250

enum action { ACTION_show, ACTION_replay, ACTION_drop };

struct errand {
	enum action action;
	bool json;
	uint32_t most;
	struct slice id;
	const char *target; /* a service or a queue */
	struct amqp_dead *dead;
	struct slice queue; /* being looked at */
	struct buf out;
	bool failed; /* somewhere */
};

/* --- for people ------------------------------------------------------------------- */

/* On one line, whatever it holds: what could move a terminal's cursor or colour it is
 * written as \xNN. */
static void put_text(struct buf *out, struct slice text, size_t most)
{
	struct slice rest = utf8_cut(text, most);
	bool cut = rest.size < text.size;

	while (rest.size > 0) {
		size_t size = utf8_character(rest);
		unsigned char first = (unsigned char)rest.at[0];
		/* C1 controls are two bytes: C2 80 to C2 9F. */
		bool control = size == 0 || first < 0x20 || first == 0x7F ||
			       (first == 0xC2 && (unsigned char)rest.at[1] < 0xA0);

		if (size == 0)
			size = 1;
		for (size_t i = 0; i < size && control; i++)
			buf_printf(out, "\\x%02X", (unsigned char)rest.at[i]);
		if (!control)
			buf_append(out, slice_of(rest.at, size));
		rest.at += size;
		rest.size -= size;
	}
	if (cut)
		buf_append(out, SLICE("..."));
}

static void put_field(struct buf *out, const char *name, struct slice text, size_t most)
{
	if (text.size == 0)
		return;
	buf_printf(out, "    %-8s", name);
	put_text(out, text, most);
	buf_append_byte(out, '\n');
}

static void put_lines(struct buf *out, const struct amqp_dead_letter *letter)
{
	const struct amqp_death *death = &letter->death;
	char time[CLOCK_ISO_SIZE];

	clock_iso(death->time, time);
	buf_printf(out, "  %.19sZ  ", death->time.ns ? time : "----------------------");
	put_text(out, death->reason.size ? death->reason : SLICE("unknown"), TEXT_SHOWN);
	if (death->count > 1)
		buf_printf(out, ", %lld times", (long long)death->count);
	buf_append_byte(out, '\n');
	put_field(out, "key", death->routing_key, TEXT_SHOWN);
	put_field(out, "id", letter->message_id, TEXT_SHOWN);
	put_field(out, "body", letter->body, BODY_SHOWN);
}

/* --- for machines ----------------------------------------------------------------- */

static void put_member(struct json *json, const char *key, struct slice text)
{
	json_key(json, slice_text(key));
	json_string(json, text);
}

/* Whole, whatever it is. */
static void put_body(struct json *json, struct slice body)
{
	char *digits;

	if (utf8_valid(body) == body.size) {
		put_member(json, "body", body);
		return;
	}
	digits = mem_zeroed(2 * body.size + 1, 1);
	hex_encode(body.at, body.size, digits);
	put_member(json, "body_hex", slice_text(digits));
	free(digits);
}

static void put_object(struct buf *out, struct slice queue,
		       const struct amqp_dead_letter *letter)
{
	const struct amqp_death *death = &letter->death;
	struct json json = json_to(out);
	char time[CLOCK_ISO_SIZE];

	json_open_object(&json);
	put_member(&json, "queue", queue);
	put_member(&json, "message_id", letter->message_id);
	put_member(&json, "exchange", death->exchange);
	put_member(&json, "routing_key", death->routing_key);
	put_member(&json, "reason", death->reason);
	json_key(&json, SLICE("count"));
	json_integer(&json, death->count);
	json_key(&json, SLICE("time"));
	clock_iso(death->time, time);
	if (death->time.ns)
		json_string(&json, slice_text(time));
	else
		json_null(&json);
	put_member(&json, "content_type", letter->content_type);
	json_key(&json, SLICE("headers"));
	json_open_object(&json);
	for (size_t i = 0; i < letter->header_count; i++) {
		json_key(&json, letter->headers[i].name);
		json_string(&json, letter->headers[i].value);
	}
	json_close_object(&json);
	put_body(&json, letter->body);
	json_close_object(&json);
	buf_append_byte(out, '\n');
}

/* --- one queue -------------------------------------------------------------------- */

static void on_letter(void *context, const struct amqp_dead_letter *letter)
{
	struct errand *errand = context;

	if (errand->json)
		put_object(&errand->out, errand->queue, letter);
	else
		put_lines(&errand->out, letter);
}

static void complain(struct errand *errand, const struct fault *why)
{
	errand->failed = true;
	fflush(stdout);
	fprintf(stderr, "orrery dead: %.*s: %s\n", SLICE_PRINT(errand->queue),
		why->detail);
}

static void show(struct errand *errand)
{
	struct fault why;
	uint32_t count;

	buf_reset(&errand->out);
	if (!amqp_dead_look(errand->dead, errand->queue, errand->most, on_letter, errand,
			    &count, &why)) {
		complain(errand, &why);
		return;
	}
	if (!errand->json)
		printf("%.*s: %u dead%s\n", SLICE_PRINT(errand->queue), count,
		       count > errand->most ? ", the oldest:" : "");
	fwrite(buf_text(&errand->out), 1, errand->out.size, stdout);
}

static void replay(struct errand *errand)
{
	struct fault why;
	uint32_t moved;
	bool well =
		amqp_dead_replay(errand->dead, errand->queue, errand->id, &moved, &why);

	printf("%.*s: %u replayed\n", SLICE_PRINT(errand->queue), moved);
	if (!well)
		complain(errand, &why);
}

static void drop(struct errand *errand)
{
	struct fault why;

	if (amqp_dead_drop(errand->dead, errand->queue, errand->id, &why))
		printf("%.*s: 1 dropped\n", SLICE_PRINT(errand->queue));
	else
		complain(errand, &why);
}

static void run_queue(struct errand *errand, struct slice queue)
{
	errand->queue = queue;
	if (errand->action == ACTION_replay)
		replay(errand);
	else if (errand->action == ACTION_drop)
		drop(errand);
	else
		show(errand);
}

/* --- the queues ------------------------------------------------------------------- */

static bool is_service(const char *target)
{
	return strchr(target, '/') || slice_ends_with(slice_text(target), SLICE(".lua"));
}

/* A queue may also be named as its dead letters are. */
static struct slice queue_named(const char *target)
{
	struct slice queue = slice_text(target);

	if (slice_ends_with(queue, SLICE(".dead")))
		queue.size -= strlen(".dead");
	return queue;
}

/* A letter with an id is in one of the queues of a service: which, is found out. */
static void run_id(struct errand *errand, const struct service *service)
{
	struct fault why;

	for (size_t i = 0; i < service->consumer_count; i++) {
		uint32_t moved;
		bool well;

		errand->queue = service->consumers[i].queue;
		well = errand->action == ACTION_replay
			       ? amqp_dead_replay(errand->dead, errand->queue, errand->id,
						  &moved, &why)
			       : amqp_dead_drop(errand->dead, errand->queue, errand->id,
						&why);
		if (well) {
			printf("%.*s: 1 %s\n", SLICE_PRINT(errand->queue),
			       errand->action == ACTION_replay ? "replayed" : "dropped");
			return;
		}
		if (why.kind != FAULT_missing) {
			complain(errand, &why);
			return;
		}
	}
	errand->failed = true;
	fprintf(stderr, "orrery dead: no dead letter of %s has the id '%.*s'\n",
		errand->target, SLICE_PRINT(errand->id));
}

static int run_service(struct errand *errand)
{
	struct service *service = NULL;
	struct dry dry;
	struct fault why;
	int status = EXIT_well;

	if (!dry_open(&dry, DRY_service, errand->target, &why)) {
		status = command_refuse("dead", why.detail);
	} else if (!(service = service_load(dry.wiring.api.vm, dry.conf.service_file,
					    &why))) {
		fprintf(stderr,
			"orrery dead: %s\n"
			"(a queue's own name will do, too)\n",
			why.detail);
		status = EXIT_failed;
	} else if (errand->id.size > 0) {
		run_id(errand, service);
	} else {
		for (size_t i = 0; i < service->consumer_count; i++)
			run_queue(errand, service->consumers[i].queue);
		if (service->consumer_count == 0)
			fprintf(stderr, "orrery dead: %s consumes no queue\n",
				errand->target);
	}
	service_destroy(service);
	dry_close(&dry);
	return status;
}

static int run(struct errand *errand)
{
	const char *url = getenv("ORRERY_AMQP_URL");
	struct fault why;
	int status = EXIT_well;

	if (!url || !*url)
		return command_refuse("dead", "set ORRERY_AMQP_URL to the broker's url");
	errand->dead = amqp_dead_open(url, &why);
	if (!errand->dead) {
		fprintf(stderr, "orrery dead: %s\n", why.detail);
		return why.kind == FAULT_bad_input ? EXIT_usage : EXIT_failed;
	}
	if (is_service(errand->target))
		status = run_service(errand);
	else
		run_queue(errand, queue_named(errand->target));
	amqp_dead_close(errand->dead);
	buf_finish(&errand->out);
	return status == EXIT_well && errand->failed ? EXIT_failed : status;
}

/* --- arguments -------------------------------------------------------------------- */

/* The value behind the option at args[*i], which moves on to it; NULL: it is another. */
static const char *value_of(char *const *args, size_t count, size_t *i,
			    const char *option)
{
	return strcmp(args[*i], option) == 0 && *i + 1 < count ? args[++*i] : NULL;
}

static const char *read_option(struct errand *errand, char *const *args, size_t count,
			       size_t *i)
{
	unsigned long long most;
	const char *value;

	if (strcmp(args[*i], "--json") == 0) {
		errand->json = true;
	} else if (strcmp(args[*i], "--replay") == 0 || strcmp(args[*i], "--drop") == 0) {
		if (errand->action != ACTION_show)
			return "one of --replay and --drop, once";
		errand->action = args[*i][2] == 'r' ? ACTION_replay : ACTION_drop;
	} else if ((value = value_of(args, count, i, "--id"))) {
		errand->id = slice_text(value);
	} else if ((value = value_of(args, count, i, "--limit"))) {
		if (!slice_to_uint(slice_text(value), &most) || most > SHOWN_MOST)
			return "--limit is a number up to 100000";
		errand->most = (uint32_t)most;
	} else if ((value = value_of(args, count, i, "--root"))) {
		setenv("ORRERY_ROOT", value, 1);
	} else if (args[*i][0] == '-' || errand->target) {
		return "an argument too many, or unknown";
	} else {
		errand->target = args[*i];
	}
	return NULL;
}

int cmd_dead(char *const *args, size_t count)
{
	struct errand errand = { .most = SHOWN_DEFAULT };
	const char *complaint = NULL;

	for (size_t i = 0; i < count && !complaint; i++)
		complaint = read_option(&errand, args, count, &i);
	if (!complaint && (!errand.target || !*errand.target))
		complaint = "which service? LAB/SERVICE, a .lua file, or a queue";
	if (!complaint && errand.action == ACTION_drop && errand.id.size == 0)
		complaint = "which one? --drop --id ID";
	if (!complaint && errand.action == ACTION_show && errand.id.size > 0)
		complaint = "--id is for --replay and --drop";
	return complaint ? command_refuse("dead", complaint) : run(&errand);
}
