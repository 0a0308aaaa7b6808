/* SPDX-License-Identifier: MIT */
/* Publishing and consuming against a real RabbitMQ of the test's own. */
#include "amqp_lab.h"

static void ten_thousand_messages_are_confirmed_and_arrive_once(void **state)
{
	struct inbox *inbox = inbox_create();
	struct sent sent = { 0 };
	struct mono start;
	struct lab lab;
	char body[16];

	lab_create(&lab);
	consume(&lab, inbox, "many", "many", 100);
	until_declared(&lab, "many");
	start = clock_mono();
	for (unsigned i = 0; i < 10000; i++) {
		snprintf(body, sizeof body, "%u", i);
		publish(&lab, "events", "many", body, 60, &sent);
		if (i % 500 == 0)
			turn(&lab);
	}
	until(&lab, 60, sent.answered == 10000);
	print_message("%.0f confirmed a second\n",
		      10000 / mono_seconds(start, clock_mono()));
	assert_int_equal(sent.of_kind[FAULT_none], 10000);
	until(&lab, 60, inbox->count >= 10000);
	for (unsigned i = 0; i < 10000; i++)
		assert_int_equal(inbox->seen[i], 1);
	assert_int_equal(inbox->by_receiver[0], 5000);
	assert_int_equal(inbox->by_receiver[1], 5000);
	assert_int_equal(
		series(&lab, "messaging_published_messages_total", "events:many"), 10000);
	assert_int_equal(series(&lab, "amqp_connected", "publisher"), 1);
	assert_int_equal(series(&lab, "amqp_connected", "consumer"), 1);
	assert_true(amqp_healthy(lab.amqp, NULL));
	lab_destroy(&lab);
	free(inbox);
}

static void at_most_prefetch_messages_are_out(void **state)
{
	struct inbox *inbox = inbox_create();
	struct sent sent = { 0 };
	struct lab lab;
	struct mono pause;

	lab_create(&lab);
	inbox->hold = true;
	consume(&lab, inbox, "few", "few", 7);
	until_declared(&lab, "few");
	for (unsigned i = 0; i < 20; i++)
		publish(&lab, "events", "few", "1", 20, &sent);
	until(&lab, 20, sent.answered == 20 && inbox->held_count == 7);
	pause = mono_after_ms(clock_mono(), 300);
	until(&lab, 5, clock_mono().ns > pause.ns);
	assert_int_equal(inbox->held_count, 7);
	assert_int_equal(depth_of(&lab, "few").messages, 13);
	while (inbox->count < 20 || inbox->held_count) {
		if (inbox->held_count)
			amqp_settle(lab.amqp, inbox->held[--inbox->held_count], AMQP_ack,
				    0);
		turn(&lab);
	}
	until(&lab, 10, depth_of(&lab, "few").messages == 0);
	lab_destroy(&lab);
	free(inbox);
}

static void a_retry_comes_back_after_its_delay_and_in_the_end_is_dead(void **state)
{
	struct inbox *inbox = inbox_create(), *dead = inbox_create();
	struct sent sent = { 0 };
	struct mono start;
	struct lab lab;

	lab_create(&lab);
	inbox->verdict = AMQP_retry;
	inbox->delay_ms = 150;
	consume(&lab, inbox, "again", "again", 10);
	until_declared(&lab, "again");
	start = clock_mono();
	publish(&lab, "events", "again", "3", 20, &sent);
	/* The delivery limit is 4: delivered first and four times again. */
	until(&lab, 20, inbox->count == 5);
	assert_true(mono_seconds(start, inbox->last) > 0.6);
	until(&lab, 20, depth_of(&lab, "again.dead").messages == 1);
	assert_int_equal(inbox->count, 5);

	inbox->verdict = AMQP_dead;
	publish(&lab, "events", "again", "4", 20, &sent);
	until(&lab, 20, depth_of(&lab, "again.dead").messages == 2);
	assert_int_equal(inbox->count, 6);
	lab_destroy(&lab);
	free(inbox);
	free(dead);
}

static void what_is_delivered_again_is_no_attempt_for_the_broker(void **state)
{
	struct inbox *inbox = inbox_create();
	struct sent sent = { 0 };
	struct mono start;
	struct lab lab;

	lab_create(&lab);
	inbox->verdict = AMQP_again;
	inbox->delay_ms = 20;
	consume(&lab, inbox, "patient", "patient", 10);
	until_declared(&lab, "patient");
	start = clock_mono();
	publish(&lab, "events", "patient", "3", 20, &sent);
	/* The delivery limit is 4. */
	until(&lab, 20, inbox->count == 20);
	assert_true(mono_seconds(start, inbox->last) > 0.38);
	assert_int_equal(depth_of(&lab, "patient.dead").messages, 0);

	inbox->hold = true;
	until(&lab, 20, inbox->held_count == 1);
	assert_int_equal(inbox->held[0]->delivery_count, 0);
	assert_true(inbox->held[0]->again_count >= 20);
	assert_true(inbox->held[0]->redelivered);

	inbox->hold = false;
	inbox->verdict = AMQP_ack;
	amqp_settle(lab.amqp, inbox->held[0], AMQP_retry, 0);
	until(&lab, 20, inbox->count > inbox->held_count + 20);
	until(&lab, 20, depth_of(&lab, "patient").messages == 0);
	lab_destroy(&lab);
	free(inbox);
}

static void a_message_to_no_exchange_fails_alone(void **state)
{
	struct sent good = { 0 }, bad = { 0 };
	struct lab lab;

	lab_create(&lab);
	for (unsigned i = 0; i < 50; i++) {
		publish(&lab, "events", "nobody", "1", 20, &good);
		if (i == 20)
			publish(&lab, "nowhere", "nobody", "1", 20, &bad);
	}
	until(&lab, 20, good.answered == 50 && bad.answered == 1);
	assert_int_equal(good.of_kind[FAULT_none], 50);
	assert_int_equal(bad.of_kind[FAULT_missing], 1);
	lab_destroy(&lab);
}

static void asking_for_a_queue_that_is_not_there_says_missing(void **state)
{
	struct depth depth;
	struct lab lab;

	lab_create(&lab);
	for (unsigned i = 0; i < 2; i++) {
		depth = depth_of(&lab, "no-such-queue");
		assert_true(depth.failed);
		assert_int_equal(depth.why.kind, FAULT_missing);
	}
	lab_destroy(&lab);
}

static void headers_and_trace_context_travel_with_the_message(void **state)
{
	struct amqp_header headers[] = { { SLICE("kind"), SLICE("\xC3\xA4 text") },
					 { SLICE("traceparent"), SLICE("an old one") } };
	struct amqp_message message = { .exchange = SLICE("events"),
					.routing_key = SLICE("traced"),
					.message_id = SLICE("id-1"),
					.content_type = SLICE("text/plain"),
					.body = SLICE("with\0nul"),
					.headers = headers,
					.header_count = 2 };
	struct inbox *inbox = inbox_create();
	const struct amqp_delivery *got;
	char *tracestate = mem_copy("vendor=x", 8);
	struct trace_context parent;
	struct sent sent = { 0 };
	struct lab lab;

	lab_create(&lab);
	inbox->hold = true;
	consume(&lab, inbox, "traced", "traced", 1);
	until_declared(&lab, "traced");
	assert_true(trace_parse(
		SLICE("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
		slice_of(tracestate, 8), &parent));
	amqp_publish(lab.amqp, lab.loops[0], &message, in_s(10), &parent, sent_done,
		     &sent);
	free(tracestate); /* the request may be gone before the confirm */
	until(&lab, 20, sent.answered && inbox->held_count == 1);
	got = inbox->held[0];
	assert_true(slice_equal(got->message.body, message.body));
	assert_true(slice_equal(got->message.exchange, SLICE("events")));
	assert_true(slice_equal(got->message.routing_key, SLICE("traced")));
	assert_true(slice_equal(got->message.message_id, SLICE("id-1")));
	assert_true(slice_equal(got->message.content_type, SLICE("text/plain")));
	assert_true(slice_equal(got->queue, SLICE("traced")));
	assert_false(got->redelivered);
	assert_int_equal(got->delivery_count, 0);
	assert_int_equal(got->message.header_count, 3);
	assert_true(slice_equal(got->message.headers[0].value, SLICE("\xC3\xA4 text")));
	assert_non_null(got->parent);
	assert_memory_equal(got->parent->trace_id, parent.trace_id, 16);
	assert_memory_not_equal(got->parent->span_id, parent.span_id, 8);
	assert_true(got->parent->remote);
	assert_true(slice_equal(got->parent->state, SLICE("vendor=x")));
	amqp_settle(lab.amqp, inbox->held[0], AMQP_ack, 0);
	lab_destroy(&lab);
	free(inbox);
}

static void what_cannot_be_sent_is_refused_at_once(void **state)
{
	struct sent sent = { 0 };
	char longest[257] = "";
	struct lab lab;

	lab_create_at(&lab, broker.url, 1);
	memset(longest, 'x', 256);
	publish(&lab, "events", longest, "1", 20, &sent);
	assert_int_equal(sent.answered, 0);
	turn(&lab);
	assert_int_equal(sent.of_kind[FAULT_bad_input], 1);
	publish(&lab, "events", "x", "1", 20, &sent);
	publish(&lab, "events", "x", "2", 20, &sent);
	until(&lab, 20, sent.answered == 3);
	assert_int_equal(sent.of_kind[FAULT_limit], 1);
	assert_int_equal(sent.of_kind[FAULT_none], 1);
	lab_destroy(&lab);
	assert_null(amqp_create(&(struct amqp_config){ .url = "amqp://[" }, &sent.why));
	assert_int_equal(sent.why.kind, FAULT_bad_input);
}

static void a_broker_that_is_not_there_is_told_promptly(void **state)
{
	struct sent sent = { 0 };
	struct mono start;
	struct fault why;
	struct lab lab;
	char url[64];

	snprintf(url, sizeof url, "amqp://a:b@127.0.0.1:%d/x", free_port());
	lab_create_at(&lab, url, 100);
	start = clock_mono();
	for (unsigned i = 0; i < 10; i++)
		publish(&lab, "events", "x", "1", 30, &sent);
	until(&lab, 10, sent.answered == 10);
	assert_true(mono_seconds(start, clock_mono()) < 3);
	assert_int_equal(sent.of_kind[FAULT_unavailable], 10);
	assert_false(amqp_healthy(lab.amqp, &why));
	assert_int_equal(why.kind, FAULT_unavailable);
	lab_destroy(&lab);
}

static void chaos_delays_fails_and_cuts(void **state)
{
	struct inbox *inbox = inbox_create();
	struct sent sent = { 0 };
	struct mono start;
	struct lab lab;

	lab_create(&lab);
	consume(&lab, inbox, "chaos", "chaos", 4);
	until_declared(&lab, "chaos");
	chaos_arm(&lab.chaos, CHAOS_amqp_publish,
		  (struct chaos_effect){ .fail = FAULT_broken }, 1);
	publish(&lab, "events", "chaos", "1", 20, &sent);
	until(&lab, 5, sent.answered == 1);
	assert_int_equal(sent.of_kind[FAULT_broken], 1);
	chaos_arm(&lab.chaos, CHAOS_amqp_publish,
		  (struct chaos_effect){ .delay_ms = 200 }, 1);
	start = clock_mono();
	publish(&lab, "events", "chaos", "2", 20, &sent);
	until(&lab, 5, sent.answered == 2);
	assert_true(mono_seconds(start, clock_mono()) >= 0.2);
	chaos_arm(&lab.chaos, CHAOS_amqp_publish, (struct chaos_effect){ .cut = true },
		  1);
	publish(&lab, "events", "chaos", "3", 20, &sent);
	until(&lab, 20, sent.answered == 3);
	assert_int_equal(sent.of_kind[FAULT_none], 2);
	until(&lab, 20, inbox->count == 2);
	chaos_arm(&lab.chaos, CHAOS_amqp_deliver, (struct chaos_effect){ .cut = true },
		  1);
	publish(&lab, "events", "chaos", "4", 20, &sent);
	until(&lab, 20,
	      inbox->seen[4] == 2); /* its settling was lost with the connection */
	lab_destroy(&lab);
	free(inbox);
}

static void a_broker_short_of_memory_is_left_in_peace(void **state)
{
	struct sent first = { 0 }, second = { 0 };
	struct fault why;
	struct lab lab;

	lab_create(&lab);
	publish(&lab, "events", "x", "1", 20, &first);
	until(&lab, 20, first.answered == 1);
	amqp_broker_control(&broker, "set_vm_memory_high_watermark", "0.00001");
	/* The broker says so when it is published to. */
	publish(&lab, "events", "x", "2", 3, &first);
	until(&lab, 20, !amqp_healthy(lab.amqp, &why));
	assert_int_equal(why.kind, FAULT_unavailable);
	publish(&lab, "events", "x", "3", 1, &second);
	publish(&lab, "events", "x", "4", 30, &second);
	until(&lab, 20, second.answered == 1);
	assert_int_equal(second.of_kind[FAULT_unavailable], 1);
	amqp_broker_control(&broker, "set_vm_memory_high_watermark", "0.4");
	until(&lab, 20, amqp_healthy(lab.amqp, &why) && second.answered == 2);
	assert_int_equal(second.of_kind[FAULT_none], 1);
	lab_destroy(&lab);
}

static void a_queue_that_was_deleted_is_declared_again(void **state)
{
	struct inbox *inbox = inbox_create();
	struct sent sent = { 0 };
	struct lab lab;

	lab_create(&lab);
	consume(&lab, inbox, "gone", "gone", 4);
	until_declared(&lab, "gone");
	amqp_broker_control(&broker, "delete_queue", "gone");
	while (inbox->count == 0) {
		struct mono pause = mono_after_ms(clock_mono(), 100);

		publish(&lab, "events", "gone", "1", 10, &sent);
		until(&lab, 5, clock_mono().ns > pause.ns);
		assert_true(sent.answered < 150);
	}
	lab_destroy(&lab);
	free(inbox);
}

static void quiesce_delivers_nothing_more(void **state)
{
	struct inbox *inbox = inbox_create();
	struct sent sent = { 0 };
	struct mono pause;
	struct lab lab;

	lab_create(&lab);
	inbox->hold = true;
	consume(&lab, inbox, "quiet", "quiet", 2);
	until_declared(&lab, "quiet");
	for (unsigned i = 0; i < 5; i++)
		publish(&lab, "events", "quiet", "1", 20, &sent);
	until(&lab, 20, sent.answered == 5 && inbox->held_count == 2);
	amqp_quiesce(lab.amqp);
	amqp_settle(lab.amqp, inbox->held[0], AMQP_ack, 0);
	pause = mono_after_ms(clock_mono(), 500);
	until(&lab, 5, clock_mono().ns > pause.ns);
	assert_int_equal(inbox->count, 2);
	lab_destroy(&lab); /* one is still out: freed with its loop */
	free(inbox);
}

static void every_confirmed_message_survives_a_crash_of_the_broker(void **state)
{
	struct inbox *inbox = inbox_create();
	struct sent *sents = mem_zeroed(3000, sizeof *sents);
	unsigned confirmed = 0;
	struct mono pause;
	struct lab lab;
	char body[16];

	lab_create(&lab);
	consume(&lab, inbox, "crash", "crash", 50);
	until_declared(&lab, "crash");
	/* RabbitMQ 3.10 forgets a quorum queue that is younger than half a second. */
	pause = mono_after_ms(clock_mono(), 1500);
	until(&lab, 5, clock_mono().ns > pause.ns);
	for (unsigned i = 0; i < 3000; i++) {
		snprintf(body, sizeof body, "%u", i);
		publish(&lab, "events", "crash", body, 60, &sents[i]);
		if (i % 40 == 0)
			turn(&lab);
		if (i == 830) /* with messages under way */
			amqp_broker_kill(&broker);
		if (i == 1500) {
			pause = mono_after_ms(clock_mono(), 700);
			until(&lab, 5, clock_mono().ns > pause.ns);
			assert_false(amqp_healthy(lab.amqp, NULL));
			amqp_broker_start(&broker);
			until(&lab, 30, amqp_healthy(lab.amqp, NULL));
		}
	}
	for (unsigned i = 0; i < 3000; i++) {
		until(&lab, 70, sents[i].answered);
		assert_int_equal(sents[i].answered, 1);
		confirmed += sents[i].of_kind[FAULT_none];
	}
	assert_true(confirmed > 2200);
	for (unsigned i = 0; i < 3000; i++)
		if (sents[i].of_kind[FAULT_none])
			until(&lab, 60, inbox->seen[i] > 0);
	print_message("%u of 3000 confirmed\n", confirmed);
	lab_destroy(&lab);
	free(inbox);
	free(sents);
}

int main(int count, char **arguments)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(ten_thousand_messages_are_confirmed_and_arrive_once),
		cmocka_unit_test(at_most_prefetch_messages_are_out),
		cmocka_unit_test(
			a_retry_comes_back_after_its_delay_and_in_the_end_is_dead),
		cmocka_unit_test(what_is_delivered_again_is_no_attempt_for_the_broker),
		cmocka_unit_test(a_message_to_no_exchange_fails_alone),
		cmocka_unit_test(asking_for_a_queue_that_is_not_there_says_missing),
		cmocka_unit_test(headers_and_trace_context_travel_with_the_message),
		cmocka_unit_test(what_cannot_be_sent_is_refused_at_once),
		cmocka_unit_test(a_broker_that_is_not_there_is_told_promptly),
		cmocka_unit_test(chaos_delays_fails_and_cuts),
		cmocka_unit_test(a_broker_short_of_memory_is_left_in_peace),
		cmocka_unit_test(a_queue_that_was_deleted_is_declared_again),
		cmocka_unit_test(quiesce_delivers_nothing_more),
		cmocka_unit_test(every_confirmed_message_survives_a_crash_of_the_broker),
	};

	return run_with_broker(tests, count, arguments);
}
