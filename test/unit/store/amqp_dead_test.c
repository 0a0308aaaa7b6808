/* SPDX-License-Identifier: MIT */
/* Dead letters of a queue, with a RabbitMQ of the test's own. */
#include "amqp_lab.h"

#include "base/buf.h"
#include "store/amqp_dead.h"

static struct lab lab;
static struct amqp_dead *dead;
static struct inbox *inbox;

static int open_lab(void **state)
{
	struct fault why;

	lab_create(&lab);
	inbox = inbox_create();
	dead = amqp_dead_open(broker.url, &why);
	assert_non_null(dead);
	return 0;
}

static int close_lab(void **state)
{
	amqp_dead_close(dead);
	lab_destroy(&lab);
	free(inbox);
	return 0;
}

/* --- the ground ------------------------------------------------------------------- */

/* Letters 0 to count - 1 of a queue that refuses all. Gives its subscription. */
static struct amqp_subscription *bury(const char *queue, const char *key, int count)
{
	struct amqp_subscription *subscription;
	struct sent sent = { 0 };
	char name[64], body[16];

	inbox->verdict = AMQP_dead;
	subscription = consume(&lab, inbox, queue, key, 1);
	until_declared(&lab, queue);
	for (int i = 0; i < count; i++) {
		snprintf(body, sizeof(body), "%d", i);
		publish(&lab, "events", key, body, 10, &sent);
		until(&lab, 15, sent.answered == (unsigned)i + 1);
	}
	snprintf(name, sizeof(name), "%s.dead", queue);
	until(&lab, 15, depth_of(&lab, name).messages == (uint32_t)count);
	return subscription;
}

static void leave(struct amqp_subscription *subscription)
{
	amqp_unsubscribe(lab.amqp, subscription);
}

static uint32_t depth_of_dead(const char *queue)
{
	char name[64];

	snprintf(name, sizeof(name), "%s.dead", queue);
	return depth_of(&lab, name).messages;
}

struct seen {
	struct buf bodies; /* each with a ; behind */
	struct buf first; /* all about the first letter */
	struct buf trace; /* its traceparent */
	int64_t first_time; /* in seconds */
	int64_t first_count;
};

static void see(void *context, const struct amqp_dead_letter *letter)
{
	struct seen *seen = context;

	buf_append(&seen->bodies, letter->body);
	buf_append_byte(&seen->bodies, ';');
	if (seen->first.size > 0)
		return;
	seen->first_time = letter->death.time.ns / 1000000000;
	seen->first_count = letter->death.count;
	for (size_t i = 0; i < letter->header_count; i++)
		if (slice_equal(letter->headers[i].name, SLICE("traceparent")))
			buf_append(&seen->trace, letter->headers[i].value);
	buf_printf(&seen->first, "%.*s %.*s %.*s %.*s %.*s",
		   SLICE_PRINT(letter->message_id), SLICE_PRINT(letter->content_type),
		   SLICE_PRINT(letter->death.reason), SLICE_PRINT(letter->death.exchange),
		   SLICE_PRINT(letter->death.routing_key));
}

static void drop_seen(struct seen *seen)
{
	buf_finish(&seen->bodies);
	buf_finish(&seen->first);
	buf_finish(&seen->trace);
	*seen = (struct seen){ 0 };
}

static void assert_lies(const char *queue, uint32_t most, const char *bodies,
			uint32_t expected)
{
	struct seen seen = { 0 };
	struct fault why;
	uint32_t count;

	if (!amqp_dead_look(dead, slice_text(queue), most, see, &seen, &count, &why))
		fail_msg("%s", why.detail);
	assert_string_equal(buf_text(&seen.bodies), bodies);
	assert_int_equal(count, expected);
	drop_seen(&seen);
}

/* --- looking ---------------------------------------------------------------------- */

static void looking_shows_the_oldest_and_leaves_all_in_their_places(void **state)
{
	struct seen seen = { 0 };
	struct fault why;
	uint32_t count;

	leave(bury("look", "look.it", 5));
	for (int i = 0; i < 3; i++) {
		assert_lies("look", 10, "0;1;2;3;4;", 5);
		assert_lies("look", 2, "0;1;", 5);
		assert_lies("look", 0, "", 5);
	}
	assert_int_equal(depth_of_dead("look"), 5);
	assert_true(amqp_dead_look(dead, SLICE("look"), 1, see, &seen, &count, &why));
	assert_string_equal(buf_text(&seen.first),
			    "0 application/json rejected events look.it");
	assert_int_equal(seen.first_count, 1);
	assert_true(llabs(seen.first_time - clock_wall().ns / 1000000000) < 60);
	drop_seen(&seen);
}

static void a_queue_that_nobody_consumed_is_missing(void **state)
{
	struct fault why;
	uint32_t count;

	assert_false(amqp_dead_look(dead, SLICE("nowhere"), 1, see, NULL, &count, &why));
	assert_int_equal(why.kind, FAULT_missing);
	assert_false(amqp_dead_replay(dead, SLICE("nowhere"), SLICE(""), &count, &why));
	assert_int_equal(why.kind, FAULT_missing);
	assert_false(amqp_dead_look(dead, SLICE(""), 1, see, NULL, &count, &why));
	assert_int_equal(why.kind, FAULT_bad_input);
	leave(bury("somewhere", "somewhere", 1)); /* and the connection is still good */
	assert_lies("somewhere", 1, "0;", 1);
}

/* --- replaying -------------------------------------------------------------------- */

static struct slice header(const struct amqp_message *message, const char *name)
{
	for (size_t i = 0; i < message->header_count; i++)
		if (slice_equal(message->headers[i].name, slice_text(name)))
			return message->headers[i].value;
	return slice_of(NULL, 0);
}

static void a_replayed_letter_comes_as_it_was_published(void **state)
{
	struct amqp_header headers[] = { { SLICE("tenant"), SLICE("north") } };
	struct amqp_message message = { .exchange = SLICE("events"),
					.routing_key = SLICE("back.one"),
					.message_id = SLICE("id-7"),
					.content_type = SLICE("text/plain"),
					.body = SLICE("7\0\xFF seven"),
					.headers = headers,
					.header_count = 1 };
	struct amqp_subscription *subscription = bury("back", "back.*", 0);
	const struct amqp_delivery *came;
	struct sent sent = { 0 };
	struct seen seen = { 0 };
	struct fault why;
	uint32_t moved;

	amqp_publish(lab.amqp, lab.loops[0], &message, in_s(10), NULL, sent_done, &sent);
	until(&lab, 15, depth_of_dead("back") == 1);
	assert_true(amqp_dead_look(dead, SLICE("back"), 1, see, &seen, &moved, &why));
	inbox->hold = true;
	assert_true(amqp_dead_replay(dead, SLICE("back"), SLICE(""), &moved, &why));
	assert_int_equal(moved, 1);
	until(&lab, 15, inbox->held_count == 1);
	came = inbox->held[0];
	assert_true(slice_equal(came->message.exchange, message.exchange));
	assert_true(slice_equal(came->message.routing_key, message.routing_key));
	assert_true(slice_equal(came->message.message_id, message.message_id));
	assert_true(slice_equal(came->message.content_type, message.content_type));
	assert_true(slice_equal(came->message.body, message.body));
	assert_true(slice_equal(header(&came->message, "tenant"), SLICE("north")));
	assert_int_equal(seen.trace.size, strlen("00--") + 32 + 16 + strlen("-01"));
	assert_true(slice_equal(header(&came->message, "traceparent"),
				buf_slice(&seen.trace)));
	assert_non_null(came->parent);
	assert_false(came->redelivered);
	assert_int_equal(came->delivery_count, 0);
	amqp_settle(lab.amqp, inbox->held[0], AMQP_ack, 0);
	assert_int_equal(depth_of_dead("back"), 0);
	assert_true(amqp_dead_replay(dead, SLICE("back"), SLICE(""), &moved, &why));
	assert_int_equal(moved, 0);
	drop_seen(&seen);
	leave(subscription);
}

static void letters_go_back_in_their_order_and_only_once(void **state)
{
	struct amqp_subscription *subscription = bury("order", "order.it", 20);
	struct fault why;
	uint32_t moved;

	inbox->verdict = AMQP_ack;
	memset(inbox->seen, 0, sizeof(inbox->seen));
	inbox->count = 0;
	assert_true(amqp_dead_replay(dead, SLICE("order"), SLICE(""), &moved, &why));
	assert_int_equal(moved, 20);
	until(&lab, 15, inbox->count == 20);
	for (int i = 0; i < 20; i++)
		assert_int_equal(inbox->seen[i], 1);
	assert_lies("order", 10, "", 0);
	leave(subscription);
}

static void who_dies_again_is_counted_and_ends_the_replay(void **state)
{
	struct amqp_subscription *subscription = bury("again", "again.it", 3);
	struct seen seen = { 0 };
	struct fault why;
	uint32_t moved, count;

	assert_true(amqp_dead_replay(dead, SLICE("again"), SLICE(""), &moved, &why));
	assert_int_equal(moved, 3);
	until(&lab, 15, depth_of_dead("again") == 3);
	assert_true(amqp_dead_look(dead, SLICE("again"), 1, see, &seen, &count, &why));
	assert_int_equal(seen.first_count, 2);
	assert_string_equal(buf_text(&seen.first),
			    "0 application/json rejected events again.it");
	drop_seen(&seen);
	leave(subscription);
}

static void attempts_are_not_counted_any_more(void **state)
{
	struct amqp_subscription *subscription;
	struct seen seen = { 0 };
	struct sent sent = { 0 };
	struct fault why;
	uint32_t moved, count;

	inbox->verdict = AMQP_retry;
	subscription = consume(&lab, inbox, "tries", "tries.it", 1);
	until_declared(&lab, "tries");
	publish(&lab, "events", "tries.it", "1", 10, &sent);
	until(&lab, 15, depth_of_dead("tries") == 1);
	assert_true(amqp_dead_look(dead, SLICE("tries"), 1, see, &seen, &count, &why));
	assert_string_equal(buf_text(&seen.first),
			    "1 application/json delivery_limit events tries.it");
	drop_seen(&seen);
	inbox->hold = true;
	assert_true(amqp_dead_replay(dead, SLICE("tries"), SLICE(""), &moved, &why));
	until(&lab, 15, inbox->held_count == 1);
	assert_int_equal(inbox->held[0]->delivery_count, 0);
	/* Now for another reason: where it came from is still known. */
	amqp_settle(lab.amqp, inbox->held[0], AMQP_dead, 0);
	until(&lab, 15, depth_of_dead("tries") == 1);
	assert_true(amqp_dead_look(dead, SLICE("tries"), 1, see, &seen, &count, &why));
	assert_string_equal(buf_text(&seen.first),
			    "1 application/json rejected events tries.it");
	drop_seen(&seen);
	leave(subscription);
}

static void one_is_replayed_by_its_id(void **state)
{
	struct amqp_subscription *subscription = bury("one", "one.it", 4);
	struct fault why;
	uint32_t moved;

	inbox->verdict = AMQP_ack;
	inbox->count = 0;
	assert_true(amqp_dead_replay(dead, SLICE("one"), SLICE("2"), &moved, &why));
	assert_int_equal(moved, 1);
	until(&lab, 15, inbox->count == 1);
	assert_int_equal(inbox->seen[2], 2); /* before, and now */
	assert_lies("one", 10, "0;1;3;", 3);
	assert_false(amqp_dead_replay(dead, SLICE("one"), SLICE("2"), &moved, &why));
	assert_int_equal(why.kind, FAULT_missing);
	assert_int_equal(moved, 0);
	assert_lies("one", 10, "0;1;3;", 3);
	leave(subscription);
}

static void a_letter_without_a_queue_to_go_to_stays(void **state)
{
	struct fault why;
	uint32_t moved;

	leave(bury("gone", "gone.it", 2));
	amqp_broker_control(&broker, "delete_queue", "gone");
	assert_false(amqp_dead_replay(dead, SLICE("gone"), SLICE(""), &moved, &why));
	assert_int_equal(why.kind, FAULT_refused); /* missing is the letter */
	assert_int_equal(moved, 0);
	assert_lies("gone", 10, "0;1;", 2);
}

/* --- dropping --------------------------------------------------------------------- */

static void one_is_dropped_by_its_id(void **state)
{
	struct fault why;

	leave(bury("drop", "drop.it", 3));
	assert_true(amqp_dead_drop(dead, SLICE("drop"), SLICE("1"), &why));
	assert_lies("drop", 10, "0;2;", 2);
	assert_false(amqp_dead_drop(dead, SLICE("drop"), SLICE("1"), &why));
	assert_int_equal(why.kind, FAULT_missing);
	assert_lies("drop", 10, "0;2;", 2);
}

/* --- a broker that is not there --------------------------------------------------- */

static void a_broker_that_dies_loses_no_letter(void **state)
{
	struct sent sent = { 0 };
	struct fault why;
	uint32_t count, moved;

	leave(bury("death", "death.it", 0));
	/* By hand, and so without a history; confirmed, and so on the disk. */
	for (int i = 0; i < 2; i++)
		publish(&lab, "", "death.dead", i ? "1" : "0", 10, &sent);
	until(&lab, 15, sent.of_kind[FAULT_none] == 2);
	amqp_broker_kill(&broker);
	assert_false(amqp_dead_look(dead, SLICE("death"), 1, see, NULL, &count, &why));
	assert_int_equal(why.kind, FAULT_unavailable);
	assert_false(amqp_dead_replay(dead, SLICE("death"), SLICE(""), &moved, &why));
	assert_null(amqp_dead_open(broker.url, &why));
	assert_int_equal(why.kind, FAULT_unavailable);
	assert_null(amqp_dead_open("http://x", &why));
	assert_int_equal(why.kind, FAULT_bad_input);
	amqp_broker_start(&broker);
	amqp_dead_close(dead);
	dead = NULL;
	for (struct mono limit = in_s(30); !dead && clock_mono().ns < limit.ns;)
		dead = amqp_dead_open(broker.url, &why);
	assert_non_null(dead);
	until(&lab, 30, depth_of_dead("death") == 2);
	assert_lies("death", 10, "0;1;", 2);
}

#define dead_test(f) cmocka_unit_test_setup_teardown(f, open_lab, close_lab)

int main(int count, char **arguments)
{
	const struct CMUnitTest tests[] = {
		dead_test(looking_shows_the_oldest_and_leaves_all_in_their_places),
		dead_test(a_queue_that_nobody_consumed_is_missing),
		dead_test(a_replayed_letter_comes_as_it_was_published),
		dead_test(letters_go_back_in_their_order_and_only_once),
		dead_test(who_dies_again_is_counted_and_ends_the_replay),
		dead_test(attempts_are_not_counted_any_more),
		dead_test(one_is_replayed_by_its_id),
		dead_test(a_letter_without_a_queue_to_go_to_stays),
		dead_test(one_is_dropped_by_its_id),
		dead_test(a_broker_that_dies_loses_no_letter),
	};

	return run_with_broker(tests, count, arguments);
}
