/* SPDX-License-Identifier: MIT */
/* Subscriptions that end while others go on, against a RabbitMQ of the test's own. */
#include "amqp_lab.h"

static void pause_ms(struct lab *lab, int ms)
{
	struct mono over = mono_after_ms(clock_mono(), ms);

	until(lab, 5, clock_mono().ns > over.ns);
}

/* Numbered from first. */
static void publish_many(struct lab *lab, const char *key, unsigned first, unsigned count)
{
	struct sent sent = { 0 };
	char body[16];

	for (unsigned i = 0; i < count; i++) {
		snprintf(body, sizeof body, "%u", first + i);
		publish(lab, "events", key, body, 20, &sent);
	}
	until(lab, 20, sent.answered == count);
	assert_int_equal(sent.of_kind[FAULT_none], count);
}

static void settle_held(struct lab *lab, struct inbox *inbox)
{
	while (inbox->held_count)
		amqp_settle(lab->amqp, inbox->held[--inbox->held_count], AMQP_ack, 0);
}

static void an_ended_subscription_delivers_nothing_more_and_others_go_on(void **state)
{
	struct inbox *ended = inbox_create(), *other = inbox_create();
	struct amqp_subscription *subscription;
	struct lab lab;

	lab_create(&lab);
	subscription = consume(&lab, ended, "ended", "both", 10);
	consume(&lab, other, "other", "both", 10);
	until_declared(&lab, "ended");
	until_declared(&lab, "other");
	publish_many(&lab, "both", 0, 3);
	until(&lab, 20, ended->count == 3 && other->count == 3);
	amqp_unsubscribe(lab.amqp, subscription);
	publish_many(&lab, "both", 3, 5);
	until(&lab, 20, other->count == 8);
	until(&lab, 20, depth_of(&lab, "ended").messages == 5);
	assert_int_equal(ended->count, 3);
	assert_true(amqp_healthy(lab.amqp, NULL));
	lab_destroy(&lab);
	free(ended);
	free(other);
}

static void what_is_out_is_settled_while_the_queue_is_consumed_anew(void **state)
{
	struct inbox *old = inbox_create(), *new = inbox_create();
	struct amqp_subscription *subscription;
	struct lab lab;

	lab_create(&lab);
	old->hold = true;
	subscription = consume(&lab, old, "anew", "anew", 2);
	until_declared(&lab, "anew");
	publish_many(&lab, "anew", 0, 6);
	until(&lab, 20, old->held_count == 2);
	amqp_unsubscribe(lab.amqp, subscription);
	consume(&lab, new, "anew", "anew", 2);
	until(&lab, 20, new->count == 4);
	settle_held(&lab, old);
	publish_many(&lab, "anew", 6, 1);
	until(&lab, 20, new->count == 5);
	/* Nothing comes back: the broker has heard of the old ones. */
	pause_ms(&lab, 200);
	assert_int_equal(old->count, 2);
	for (unsigned i = 0; i < 7; i++)
		assert_int_equal(old->seen[i] + new->seen[i], 1);
	lab_destroy(&lab);
	free(old);
	free(new);
}

static void what_was_on_its_way_goes_back_to_the_queue(void **state)
{
	struct inbox *old = inbox_create(), *new = inbox_create();
	struct amqp_subscription *subscription;
	struct lab lab;

	lab_create(&lab);
	subscription = consume(&lab, old, "way", "way", 20);
	until_declared(&lab, "way");
	lab.second_stands = true;
	publish_many(&lab, "way", 0, 10);
	until(&lab, 20, old->count == 5 && depth_of(&lab, "way").messages == 0);
	amqp_unsubscribe(lab.amqp, subscription);
	lab.second_stands = false;
	until(&lab, 20, depth_of(&lab, "way").messages == 5);
	assert_int_equal(old->count, 5);
	consume(&lab, new, "way", "way", 20);
	until(&lab, 20, new->count == 5);
	for (unsigned i = 0; i < 10; i++)
		assert_int_equal(old->seen[i] + new->seen[i], 1);
	lab_destroy(&lab);
	free(old);
	free(new);
}

static void a_retry_of_an_ended_subscription_keeps_its_delay(void **state)
{
	struct inbox *old = inbox_create(), *new = inbox_create();
	struct amqp_subscription *subscription;
	struct mono start;
	struct lab lab;

	lab_create(&lab);
	old->verdict = AMQP_retry;
	old->delay_ms = 400;
	subscription = consume(&lab, old, "late", "late", 4);
	until_declared(&lab, "late");
	start = clock_mono();
	publish_many(&lab, "late", 1, 1);
	until(&lab, 20, old->count == 1);
	amqp_unsubscribe(lab.amqp, subscription);
	consume(&lab, new, "late", "late", 4);
	until(&lab, 20, new->count == 1);
	assert_true(mono_seconds(start, new->last) > 0.3);
	lab_destroy(&lab);
	free(old);
	free(new);
}

static void what_waits_goes_back_when_its_subscription_ends(void **state)
{
	struct inbox *old = inbox_create(), *new = inbox_create();
	struct amqp_subscription *subscription;
	struct lab lab;

	lab_create(&lab);
	old->verdict = AMQP_again;
	old->delay_ms = 300;
	subscription = consume(&lab, old, "waits", "waits", 4);
	until_declared(&lab, "waits");
	publish_many(&lab, "waits", 1, 1);
	until(&lab, 20, old->count == 2);
	amqp_unsubscribe(lab.amqp, subscription);
	new->hold = true;
	consume(&lab, new, "waits", "waits", 4);
	until(&lab, 20, new->held_count == 1);
	assert_int_equal(new->held[0]->delivery_count, 1);
	assert_int_equal(new->held[0]->again_count, 0);
	assert_int_equal(old->count, 2);
	settle_held(&lab, new);

	/* Whoever is waiting at the end is freed with all the rest. */
	new->hold = false;
	new->verdict = AMQP_again;
	new->delay_ms = 60000;
	publish_many(&lab, "waits", 2, 4);
	until(&lab, 20, new->count == 5);
	pause_ms(&lab, 100);
	lab_destroy(&lab);
	free(old);
	free(new);
}

static void what_waits_when_the_connection_is_lost_is_left_to_the_broker(void **state)
{
	struct inbox *inbox = inbox_create();
	struct lab lab;

	lab_create(&lab);
	inbox->verdict = AMQP_again;
	inbox->delay_ms = 1000;
	consume(&lab, inbox, "left", "left", 4);
	until_declared(&lab, "left");
	publish_many(&lab, "left", 1, 1);
	until(&lab, 20, inbox->count == 1);
	inbox->hold = true;
	chaos_arm(&lab.chaos, CHAOS_amqp_deliver, (struct chaos_effect){ .cut = true },
		  1);
	publish_many(&lab, "left", 2, 1);
	until(&lab, 20, inbox->seen[1] == 2 && inbox->seen[2] == 2);
	pause_ms(&lab, 1300);
	assert_int_equal(inbox->count, 4);
	settle_held(&lab, inbox);
	until(&lab, 20, depth_of(&lab, "left").messages == 0);
	lab_destroy(&lab);
	free(inbox);
}

static void keys_that_are_dropped_are_unbound_and_kept_ones_stay(void **state)
{
	struct slice drop[] = { SLICE("key.old"), SLICE("key.kept"), SLICE("key.never") };
	struct inbox *old = inbox_create(), *new = inbox_create();
	struct amqp_subscription *subscription;
	struct lab lab;

	lab_create(&lab);
	subscription = consume(&lab, old, "keys", "key.old", 4);
	until_declared(&lab, "keys");
	publish_many(&lab, "key.old", 1, 1);
	until(&lab, 20, old->count == 1);
	amqp_unsubscribe(lab.amqp, subscription);
	subscription = consume_dropping(&lab, new, "keys", "key.kept", 4, drop, 3);
	do {
		publish_many(&lab, "key.kept", 2, 1);
	} while (new->count == 0);
	publish_many(&lab, "key.old", 3, 1);
	publish_many(&lab, "key.kept", 4, 1);
	until(&lab, 20, new->seen[4] == 1);
	assert_int_equal(new->seen[3], 0);
	assert_int_equal(old->count, 1);
	lab_destroy(&lab);
	free(old);
	free(new);
}

static void a_subscription_may_end_before_the_connection_is_up(void **state)
{
	struct inbox *never = inbox_create(), *inbox = inbox_create();
	struct amqp_subscription *subscription;
	struct lab lab;
	char url[64];

	lab_create(&lab);
	subscription = consume(&lab, never, "early", "early", 4);
	amqp_unsubscribe(lab.amqp, subscription);
	consume(&lab, inbox, "early", "early", 4);
	until_declared(&lab, "early");
	publish_many(&lab, "early", 1, 3);
	until(&lab, 20, inbox->count == 3);
	assert_int_equal(never->count, 0);
	lab_destroy(&lab);

	snprintf(url, sizeof url, "amqp://a:b@127.0.0.1:%d/x", free_port());
	lab_create_at(&lab, url, 10);
	subscription = consume(&lab, never, "early", "early", 4);
	until(&lab, 10, !amqp_healthy(lab.amqp, NULL));
	amqp_unsubscribe(lab.amqp, subscription);
	pause_ms(&lab, 50);
	lab_destroy(&lab);
	free(never);
	free(inbox);
}

static void a_lost_connection_brings_back_what_an_ended_subscription_held(void **state)
{
	struct inbox *held = inbox_create(), *other = inbox_create();
	struct amqp_subscription *subscription;
	struct lab lab;

	lab_create(&lab);
	held->hold = true;
	subscription = consume(&lab, held, "held", "held", 4);
	consume(&lab, other, "cutting", "cutting", 4);
	until_declared(&lab, "held");
	until_declared(&lab, "cutting");
	publish_many(&lab, "held", 1, 1);
	until(&lab, 20, held->held_count == 1);
	amqp_unsubscribe(lab.amqp, subscription);
	chaos_arm(&lab.chaos, CHAOS_amqp_deliver, (struct chaos_effect){ .cut = true },
		  1);
	publish_many(&lab, "cutting", 2, 1);
	until(&lab, 20, other->seen[2] == 2); /* its settling was lost */
	settle_held(&lab, held);
	held->hold = false;
	consume(&lab, held, "held", "held", 4);
	until(&lab, 20, held->seen[1] == 2);
	lab_destroy(&lab);
	free(held);
	free(other);
}

static void amqp_may_end_with_a_subscription_that_still_waits_for_an_answer(void **state)
{
	struct inbox *inbox = inbox_create();
	struct amqp_subscription *subscription;
	struct lab lab;

	lab_create(&lab);
	inbox->hold = true;
	subscription = consume(&lab, inbox, "open", "open", 4);
	until_declared(&lab, "open");
	publish_many(&lab, "open", 1, 2);
	until(&lab, 20, inbox->held_count == 2);
	amqp_unsubscribe(lab.amqp, subscription);
	amqp_settle(lab.amqp, inbox->held[0], AMQP_ack, 0);
	pause_ms(&lab, 50);
	lab_destroy(&lab);
	free(inbox);
}

/* Each message is handled once, or was handed back too often and is in the dead-letter
 * queue. */
static void no_message_is_lost_when_subscriptions_come_and_go(void **state)
{
	enum { MESSAGES = 4000, ROUNDS = 60 };
	struct inbox *inbox = inbox_create();
	struct amqp_subscription *subscription;
	struct sent sent = { 0 };
	unsigned handled = 0;
	struct lab lab;
	char body[16];

	lab_create(&lab);
	subscription = consume(&lab, inbox, "rounds", "rounds", 8);
	until_declared(&lab, "rounds");
	for (unsigned i = 0; i < MESSAGES; i++) {
		snprintf(body, sizeof body, "%u", i);
		publish(&lab, "events", "rounds", body, 60, &sent);
		if (i % 10 == 0)
			turn(&lab);
		if (i % (MESSAGES / ROUNDS) == 0) {
			amqp_unsubscribe(lab.amqp, subscription);
			subscription =
				consume(&lab, inbox, "rounds", "rounds", 1 + i % 16);
		}
	}
	until(&lab, 60, sent.answered == MESSAGES);
	until(&lab, 60,
	      inbox->count + depth_of(&lab, "rounds.dead").messages >= MESSAGES);
	pause_ms(&lab, 200);
	for (unsigned i = 0; i < MESSAGES; i++) {
		assert_true(inbox->seen[i] <= 1);
		handled += inbox->seen[i];
	}
	assert_int_equal(handled + depth_of(&lab, "rounds.dead").messages, MESSAGES);
	print_message("%u of %d handled\n", handled, MESSAGES);
	lab_destroy(&lab);
	free(inbox);
}

int main(int count, char **arguments)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(
			an_ended_subscription_delivers_nothing_more_and_others_go_on),
		cmocka_unit_test(what_is_out_is_settled_while_the_queue_is_consumed_anew),
		cmocka_unit_test(what_was_on_its_way_goes_back_to_the_queue),
		cmocka_unit_test(a_retry_of_an_ended_subscription_keeps_its_delay),
		cmocka_unit_test(what_waits_goes_back_when_its_subscription_ends),
		cmocka_unit_test(
			what_waits_when_the_connection_is_lost_is_left_to_the_broker),
		cmocka_unit_test(keys_that_are_dropped_are_unbound_and_kept_ones_stay),
		cmocka_unit_test(a_subscription_may_end_before_the_connection_is_up),
		cmocka_unit_test(
			a_lost_connection_brings_back_what_an_ended_subscription_held),
		cmocka_unit_test(
			amqp_may_end_with_a_subscription_that_still_waits_for_an_answer),
		cmocka_unit_test(no_message_is_lost_when_subscriptions_come_and_go),
	};

	return run_with_broker(tests, count, arguments);
}
