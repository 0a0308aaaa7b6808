/* SPDX-License-Identifier: MIT */
/* limit.c -- asks Redis what limit_script says, or limit_local.c when that does not work.
 *
 * A command cannot be taken back from the pool: so what it comes back to is a call, which
 * outlives the ticket and, if need be, the limiter. Its deadline in the pool is long,
 * since the pool ends a connection under a command that misses it; that a request waits
 * no longer than GATE_LIMIT_REDIS_MS is seen to here.
 */
#include "gate/limit.h"

#include "base/check.h"
#include "base/hex.h"
#include "base/list.h"
#include "gate/limit_local.h"
#include "loop/loop.h"
#include "store/redis_pool.h"
#include "watch/log.h"
#include "watch/metrics.h"

#include <openssl/evp.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define COMMAND_MS 1000
#define PREFIX "orrery:limit:"
#define SHA1_SIZE 20

/* ARGV, for each key: microseconds between two requests, and those that a whole burst
 * takes. Kept is the moment at which the burst is whole again; times count from 2023, so
 * that a double holds fractions of a microsecond. A moment that is too far off (the clock
 * was set back, the burst was made smaller) is not waited for. One microsecond is
 * nothing: sums are rounded.
 *
 * Gives: allowed, number of the limit, thousandths of requests left, microseconds until
 * the burst is whole, and until the next request. */
static const char limit_script[] =
	"local time = redis.call('TIME')\n"
	"local now = (time[1] - 1700000000) * 1000000 + time[2]\n"
	"local full, refused, wait = {}, nil, 1\n"
	"for i, key in ipairs(KEYS) do\n"
	"  local each, burst = tonumber(ARGV[2 * i - 1]), tonumber(ARGV[2 * i])\n"
	"  local kept = tonumber(redis.call('GET', key) or now)\n"
	"  full[i] = math.min(math.max(kept, now), now + burst)\n"
	"  if full[i] + each - burst - now > wait then\n"
	"    refused, wait = i, full[i] + each - burst - now\n"
	"  end\n"
	"end\n"
	"local least, left = refused, math.huge\n"
	"for i, key in ipairs(KEYS) do\n"
	"  local each, burst = tonumber(ARGV[2 * i - 1]), tonumber(ARGV[2 * i])\n"
	"  if not refused then\n"
	"    full[i] = full[i] + each\n"
	"    redis.call('SET', key, string.format('%.3f', full[i]), 'PX',\n"
	"      string.format('%.0f', math.ceil((full[i] - now) / 1000)))\n"
	"  end\n"
	"  local rest = (burst - full[i] + now) / each\n"
	"  if i == refused or not refused and rest < left then least, left = i, rest "
	"end\n"
	"end\n"
	"return {refused and 0 or 1, least, math.max(0, math.floor(left * 1000 + 0.5)),\n"
	"  math.ceil(full[least] - now), refused and math.ceil(wait) or 0}\n";

struct gate_limiter {
	struct loop *loop;
	struct redis_pool *redis; /* NULL: none */
	struct limit_local *local;
	EVP_MD_CTX *hashing;
	EVP_MD *sha256;
	char script_sha1[2 * SHA1_SIZE + 1];
	struct list waiting; /* calls with tickets, the oldest first */
	struct list going; /* calls without */
	struct timer late; /* not before the oldest of waiting is */
	bool deciding; /* here, for Redis failed */
	struct mono probe; /* deciding: when Redis is told again */
};

struct limit_call {
	struct list member;
	struct gate_limiter *limiter; /* NULL: it is gone */
	struct gate_limit_ticket *ticket; /* NULL: decided or withdrawn */
	struct mono began;
	bool evaluated; /* the script itself was sent */
	size_t count;
	struct limit_local_ask asks[GATE_LIMITS_PER_ROUTE];
	double each_us[GATE_LIMITS_PER_ROUTE], burst_us[GATE_LIMITS_PER_ROUTE];
};

/* --- verdicts --------------------------------------------------------------------- */

static void count_refused(struct gate_limiter *limiter,
			  const struct gate_limit_verdict *verdict)
{
	if (!verdict->allowed)
		series_add(meter_own(loop_observer(limiter->loop)->meter,
				     METRIC_gateway_limited, 2, verdict->limit->name,
				     verdict->local ? SLICE("local") : SLICE("redis")),
			   1);
}

static void decide_here(struct gate_limiter *limiter, const struct limit_local_ask *asks,
			size_t count, struct gate_limit_verdict *verdict)
{
	limit_local_decide(limiter->local, asks, count, clock_mono(), verdict);
	count_refused(limiter, verdict);
}

/* The ticket is over; the call goes on without. */
static struct gate_limit_ticket *take_ticket(struct limit_call *call)
{
	struct gate_limit_ticket *ticket = call->ticket;

	ticket->call = NULL;
	call->ticket = NULL;
	list_remove(&call->member);
	list_append(&call->limiter->going, &call->member);
	return ticket;
}

static void tell(struct limit_call *call, const struct gate_limit_verdict *verdict)
{
	struct gate_limit_ticket *ticket = take_ticket(call);

	ticket->done(ticket->context, verdict);
}

static void tell_without_redis(struct limit_call *call)
{
	struct gate_limit_verdict verdict;

	decide_here(call->limiter, call->asks, call->count, &verdict);
	tell(call, &verdict);
}

/* --- whether Redis is asked ------------------------------------------------------- */

static void turn_away(struct gate_limiter *limiter, const struct fault *why)
{
	struct attr attrs[] = {
		attr_text(SLICE("kind"), slice_text(fault_name(why->kind))),
		attr_text(SLICE("detail"), slice_text(why->detail)),
	};

	if (limiter->deciding)
		return;
	limiter->deciding = true;
	limiter->probe = mono_after_ms(clock_mono(), GATE_LIMIT_PROBE_MS);
	if (why->kind == FAULT_cancelled)
		return; /* the pool ends */
	log_write(loop_observer(limiter->loop)->log, LOG_warn, NULL,
		  SLICE("limits are decided without Redis"), attrs, 2);
}

static void turn_back(struct gate_limiter *limiter)
{
	if (!limiter->deciding)
		return;
	limiter->deciding = false;
	log_write(loop_observer(limiter->loop)->log, LOG_info, NULL,
		  SLICE("limits are decided by Redis again"), NULL, 0);
}

static bool is_late(const struct limit_call *call, struct mono now)
{
	return now.ns >= mono_after_ms(call->began, GATE_LIMIT_REDIS_MS).ns;
}

static struct limit_call *oldest(struct gate_limiter *limiter)
{
	return list_empty(&limiter->waiting)
		       ? NULL
		       : list_of(limiter->waiting.next, struct limit_call, member);
}

static void on_late(void *context);

static void watch_oldest(struct gate_limiter *limiter)
{
	struct limit_call *call = oldest(limiter);

	if (call && !timer_started(&limiter->late))
		timer_start(limiter->loop, &limiter->late,
			    mono_after_ms(call->began, GATE_LIMIT_REDIS_MS), on_late,
			    limiter);
}

static void on_late(void *context)
{
	struct gate_limiter *limiter = context;
	struct mono now = clock_mono();
	struct limit_call *call;
	struct fault why;

	while ((call = oldest(limiter)) && is_late(call, now)) {
		fault_set(&why, FAULT_timeout, "Redis did not answer in %d ms",
			  GATE_LIMIT_REDIS_MS);
		turn_away(limiter, &why);
		tell_without_redis(call);
	}
	watch_oldest(limiter);
}

/* --- Redis ------------------------------------------------------------------------ */

static void send(struct limit_call *call, const struct trace_context *trace);

/* What the script gave. False: something else. */
static bool read_verdict(const struct limit_call *call, const struct redis_value *value,
			 struct gate_limit_verdict *verdict)
{
	const struct redis_value *items = value->items;

	if (value->type != REDIS_array || value->count != 5)
		return false;
	for (size_t i = 0; i < 5; i++)
		if (items[i].type != REDIS_integer || items[i].integer < 0)
			return false;
	if (items[1].integer < 1 || (size_t)items[1].integer > call->count)
		return false;
	*verdict = (struct gate_limit_verdict){
		.allowed = items[0].integer != 0,
		.limit = call->asks[items[1].integer - 1].limit,
		.left = (double)items[2].integer / 1e3,
		.reset_s = (double)items[3].integer / 1e6,
		.retry_after_s = (double)items[4].integer / 1e6,
	};
	return true;
}

static void end_call(struct limit_call *call)
{
	list_remove(&call->member);
	free(call);
}

static void on_answer(void *context, const struct redis_value *value,
		      const struct fault *why)
{
	struct limit_call *call = context;
	struct gate_limiter *limiter = call->limiter;
	struct gate_limit_verdict verdict;
	struct fault nonsense;

	if (limiter && why && !call->evaluated && strstr(why->detail, "NOSCRIPT")) {
		call->evaluated = true;
		send(call, NULL);
		return;
	}
	if (limiter && value && read_verdict(call, value, &verdict)) {
		if (!is_late(call, clock_mono()))
			turn_back(limiter);
		if (call->ticket) {
			count_refused(limiter, &verdict);
			tell(call, &verdict);
		}
	} else if (limiter) {
		fault_set(&nonsense, FAULT_broken, "Redis' answer makes no sense");
		turn_away(limiter, why ? why : &nonsense);
		if (call->ticket)
			tell_without_redis(call);
	}
	end_call(call);
}

static void send(struct limit_call *call, const struct trace_context *trace)
{
	struct gate_limiter *limiter = call->limiter;
	char keys[GATE_LIMITS_PER_ROUTE][sizeof(PREFIX) + 2 * LIMIT_KEY_SIZE];
	char numbers[2 * GATE_LIMITS_PER_ROUTE][32], count[4];
	struct slice args[3 + 3 * GATE_LIMITS_PER_ROUTE];
	size_t n = 3;

	args[0] = call->evaluated ? SLICE("EVAL") : SLICE("EVALSHA");
	args[1] = call->evaluated ? slice_of(limit_script, sizeof(limit_script) - 1)
				  : slice_of(limiter->script_sha1,
					     sizeof(limiter->script_sha1) - 1);
	args[2] = slice_of(count, (size_t)snprintf(count, sizeof(count), "%u",
						   (unsigned)call->count));
	for (size_t i = 0; i < call->count; i++) {
		memcpy(keys[i], PREFIX, sizeof(PREFIX) - 1);
		hex_encode(call->asks[i].key, LIMIT_KEY_SIZE,
			   keys[i] + sizeof(PREFIX) - 1);
		args[n++] = slice_of(keys[i], sizeof(PREFIX) - 1 + 2 * LIMIT_KEY_SIZE);
	}
	for (size_t i = 0; i < call->count; i++) {
		char *each = numbers[2 * i], *burst = numbers[2 * i + 1];

		snprintf(each, sizeof(numbers[0]), "%.17g", call->each_us[i]);
		snprintf(burst, sizeof(numbers[0]), "%.17g", call->burst_us[i]);
		args[n++] = slice_text(each);
		args[n++] = slice_text(burst);
	}
	redis_pool_command(limiter->redis, args, n,
			   mono_after_ms(clock_mono(), COMMAND_MS), trace, on_answer,
			   call);
}

/* --- asking ----------------------------------------------------------------------- */

static void hash_of(struct gate_limiter *limiter, const struct gate_limit_ask *ask,
		    uint8_t key[LIMIT_KEY_SIZE])
{
	uint8_t digest[EVP_MAX_MD_SIZE];
	EVP_MD_CTX *hashing = limiter->hashing;

	check(EVP_DigestInit_ex(hashing, limiter->sha256, NULL) == 1 &&
	      EVP_DigestUpdate(hashing, ask->limit->name.at, ask->limit->name.size) ==
		      1 &&
	      EVP_DigestUpdate(hashing, "", 1) == 1 &&
	      EVP_DigestUpdate(hashing, ask->key.at, ask->key.size) == 1 &&
	      EVP_DigestFinal_ex(hashing, digest, NULL) == 1);
	memcpy(key, digest, LIMIT_KEY_SIZE);
}

static void call_begin(struct gate_limiter *limiter, struct gate_limit_ticket *ticket,
		       const struct limit_local_ask *asks, size_t count,
		       const struct trace_context *trace)
{
	struct limit_call *call = mem_zeroed(1, sizeof(*call));

	call->limiter = limiter;
	call->ticket = ticket;
	call->began = clock_mono();
	call->count = count;
	for (size_t i = 0; i < count; i++) {
		const struct gate_limit_def *limit = asks[i].limit;

		call->asks[i] = asks[i];
		call->each_us[i] = limit->per_s / limit->requests * 1e6;
		call->burst_us[i] = limit->burst * call->each_us[i];
	}
	if (ticket)
		ticket->call = call;
	list_append(ticket ? &limiter->waiting : &limiter->going, &call->member);
	send(call, trace);
	watch_oldest(limiter);
}

/* Whether this request is the one that Redis is told of all the same. */
static bool is_probe(struct gate_limiter *limiter)
{
	struct mono now = clock_mono();

	if (!limiter->redis || now.ns < limiter->probe.ns)
		return false;
	limiter->probe = mono_after_ms(now, GATE_LIMIT_PROBE_MS);
	return true;
}

bool gate_limiter_ask(struct gate_limiter *limiter, struct gate_limit_ticket *ticket,
		      const struct gate_limit_ask *asks, size_t count,
		      const struct trace_context *trace,
		      struct gate_limit_verdict *verdict, gate_limit_done_fn *done,
		      void *context)
{
	struct limit_local_ask hashed[GATE_LIMITS_PER_ROUTE];

	check(count <= GATE_LIMITS_PER_ROUTE && ticket->call == NULL);
	if (count == 0) {
		*verdict = (struct gate_limit_verdict){ .allowed = true };
		return true;
	}
	for (size_t i = 0; i < count; i++) {
		hashed[i].limit = asks[i].limit;
		hash_of(limiter, &asks[i], hashed[i].key);
	}
	if (limiter->redis && !limiter->deciding) {
		ticket->done = done;
		ticket->context = context;
		call_begin(limiter, ticket, hashed, count, trace);
		return false;
	}
	decide_here(limiter, hashed, count, verdict);
	if (is_probe(limiter))
		call_begin(limiter, NULL, hashed, count, NULL);
	return true;
}

void gate_limit_withdraw(struct gate_limit_ticket *ticket)
{
	if (ticket->call)
		take_ticket(ticket->call);
}

/* --- life ------------------------------------------------------------------------- */

struct gate_limiter *gate_limiter_create(struct loop *loop, struct redis_pool *redis)
{
	struct gate_limiter *limiter = mem_zeroed(1, sizeof(*limiter));
	uint8_t digest[EVP_MAX_MD_SIZE];

	limiter->loop = loop;
	limiter->redis = redis;
	limiter->local = limit_local_create(GATE_LIMIT_CALLERS);
	limiter->hashing = EVP_MD_CTX_new();
	limiter->sha256 = EVP_MD_fetch(NULL, "SHA256", NULL);
	check(limiter->hashing && limiter->sha256);
	check(EVP_Digest(limit_script, sizeof(limit_script) - 1, digest, NULL, EVP_sha1(),
			 NULL) == 1);
	hex_encode(digest, SHA1_SIZE, limiter->script_sha1);
	list_init(&limiter->waiting);
	list_init(&limiter->going);
	return limiter;
}

void gate_limiter_destroy(struct gate_limiter *limiter)
{
	struct limit_call *call;
	struct list *member;

	if (limiter == NULL)
		return;
	while ((call = oldest(limiter)))
		take_ticket(call);
	while ((member = list_take(&limiter->going)))
		list_of(member, struct limit_call, member)->limiter = NULL;
	timer_stop(limiter->loop, &limiter->late);
	limit_local_destroy(limiter->local);
	EVP_MD_CTX_free(limiter->hashing);
	EVP_MD_free(limiter->sha256);
	free(limiter);
}

void gate_limiter_check(const struct gate_limiter *limiter)
{
	struct mono before = { 0 };

	for (struct list *at = limiter->waiting.next; at != &limiter->waiting;
	     at = at->next) {
		const struct limit_call *call = list_of(at, struct limit_call, member);

		check(call->ticket && call->ticket->call == call);
		check(call->began.ns >= before.ns);
		before = call->began;
	}
	for (struct list *at = limiter->going.next; at != &limiter->going; at = at->next)
		check(list_of(at, struct limit_call, member)->ticket == NULL);
	check(list_empty(&limiter->waiting) || timer_started(&limiter->late));
	limit_local_check(limiter->local);
}
