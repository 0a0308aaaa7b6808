/* SPDX-License-Identifier: MIT */
#include "upstream_rig.h"

#include "base/random.h"

#define TRIES 40
#define STEPS 4000 /* at least */
#define STEPS_MAX 100000
#define ENOUGH 50

struct walk {
	struct rig *rig;
	struct random random;
	struct try tries[TRIES];
	unsigned begun, done, failed, refused;
};

static unsigned below(struct walk *walk, unsigned limit)
{
	return (unsigned)random_below(&walk->random, limit);
}

static void start_one(struct walk *walk)
{
	static const char *const paths[] = { "/",     "/",     "/",	   "/hang",
					     "/once", "/echo", "/endless", "/cut" };
	struct try *try = &walk->tries[below(walk, TRIES)];

	if (!try_over(try))
		return;
	walk->done += try->dones;
	walk->failed += try->failures;
	try_prepare(try, walk->rig, paths[below(walk, 8)]);
	try->request.fresh = below(walk, 10) == 0;
	try->cancel = below(walk, 10) == 0 ? 1 + (int)below(walk, 3) : TRY_never;
	try_begin(try);
	walk->begun += try->at != NULL;
	walk->refused += try->at == NULL;
}

static void change_replica(struct walk *walk)
{
	struct replica *replica = &walk->rig->replicas[below(walk, REPLICAS)];

	switch (below(walk, 8)) {
	case 0:
	case 1:
		if (replica->server)
			replica_stop(replica);
		else
			replica_start(replica);
		break;
	case 2:
	case 3:
		atomic_store(&replica->ready, below(walk, 2) ? 200 : 503);
		break;
	case 4:
		atomic_store(&replica->closes, below(walk, 3) == 0);
		break;
	default: /* what hangs ends, once */
		atomic_store(&replica->released, true);
		turn(walk->rig);
		atomic_store(&replica->released, replica->server == NULL);
	}
}

static void change_def(struct walk *walk)
{
	struct rig *rig = walk->rig;
	struct gate_upstream_def *def = &rig->def;
	unsigned first = below(walk, REPLICAS);

	if (below(walk, 8) == 0) {
		gate_upstreams_use(rig->upstreams, NULL, 0);
		return;
	}
	def->addresses =
		slice_text(addresses_of(rig, first, 1 + below(walk, REPLICAS - first)));
	def->balance = below(walk, 2) ? GATE_round_robin : GATE_least_busy;
	def->health.path = below(walk, 4) ? SLICE("/ready") : SLICE("");
	def->breaker.failures = below(walk, 4);
	def->breaker.open_ms = 30;
	def->idle_max = below(walk, 4);
	def->idle_timeout_ms = 1 + (int)below(walk, 50);
	def->connections_max = 5 + below(walk, 10);
	rig_use(rig);
}

static void step(struct walk *walk)
{
	struct try *try = &walk->tries[below(walk, TRIES)];
	unsigned what = below(walk, 100);

	if (what < 45)
		start_one(walk);
	else if (what < 55)
		gate_attempt_cancel(&try->attempt, below(walk, 4) == 0);
	else if (what < 65)
		gate_attempt_pause(&try->attempt, below(walk, 2));
	else if (what < 68)
		change_replica(walk);
	else if (what < 70)
		change_def(walk);
	else
		turn(walk->rig);
	gate_upstreams_check(walk->rig->upstreams);
}

static void whatever_happens_the_invariants_hold_and_each_attempt_ends_once(void **state)
{
	struct walk *walk = mem_zeroed(1, sizeof(*walk));
	unsigned steps = 0;
	uint64_t seed;

	random_secure(&seed, sizeof(seed));
	random_init(&walk->random, seed);
	walk->rig = rig_create(REPLICAS);
	while (steps < STEPS || walk->done < ENOUGH || walk->failed < ENOUGH) {
		step(walk);
		if (++steps == STEPS_MAX)
			fail_msg("too little has happened");
	}
	gate_upstreams_destroy(walk->rig->upstreams);
	walk->rig->upstreams = NULL;
	for (int i = 0; i < TRIES; i++)
		assert_true(try_over(&walk->tries[i]));
	print_message("seed %llu: %u begun, %u well, %u failed, %u refused\n",
		      (unsigned long long)seed, walk->begun, walk->done, walk->failed,
		      walk->refused);
	rig_destroy(walk->rig);
	free(walk);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(
			whatever_happens_the_invariants_hold_and_each_attempt_ends_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
