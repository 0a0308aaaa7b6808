/* SPDX-License-Identifier: MIT */
#include "script/watchdog.h"

#include "base/check.h"

#include <errno.h>
#include <lua.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* glibc hides the member's name (timer_create(2)). */
#ifndef sigev_notify_thread_id
#define sigev_notify_thread_id _sigev_un._tid
#endif

#define EXIT_STUCK 70 /* EX_SOFTWARE of sysexits.h */
#define LAST_TICKS (WATCHDOG_LAST_MS / WATCHDOG_TICK_MS)
#define STUCK_CALLS (WATCHDOG_LAST_MS / 1000)

/* The timer's signal interrupts the thread that reads and writes everything but `entry`
 * and `ticks_max`, which other threads read too. */
struct watchdog {
	const char *name;
	timer_t timer;
	_Atomic uint64_t entry; /* number of the entry that runs; 0: none does */
	uint64_t entries; /* so far */
	lua_State *L;
	watchdog_hook_fn *hook;
	atomic_uint ticks_max; /* 0: no limit */
	uint64_t seen; /* by the signal handler */
	unsigned ticks; /* of that entry */
	volatile sig_atomic_t due;
	struct {
		uint64_t entry;
		unsigned calls;
	} stuck; /* what watchdog_stuck saw last; its caller's */
};

static int signal_number(void)
{
	return SIGRTMIN + 1;
}

/* --- the last resort -------------------------------------------------------------- */

static void say(const char *text)
{
	if (write(STDERR_FILENO, text, strlen(text)) < 0)
		return;
}

/* Reads the stack of a state that may be in the middle of anything: a crash here ends the
 * process as well. */
static void say_place(lua_State *L)
{
	lua_Debug place;
	char line[32];

	for (int level = 0; level < 32 && lua_getstack(L, level, &place); level++) {
		lua_getinfo(L, "Sl", &place);
		if (place.currentline <= 0)
			continue;
		say(place.short_src);
		snprintf(line, sizeof(line), ":%d", place.currentline);
		say(line);
		return;
	}
	say("an unknown place");
}

/* One JSON line like the log's; the log itself is drained by another thread, too late. */
static void end_process(const struct watchdog *watchdog, const char *how)
{
	say("{\"level\":\"FATAL\",\"message\":\"a script cannot be stopped: the process "
	    "ends\",\"thread\":\"");
	say(watchdog->name);
	say("\",\"how\":\"");
	say(how);
	say("\",\"at\":\"");
	say_place(watchdog->L);
	say("\"}\n");
	_exit(EXIT_STUCK);
}

void watchdog_stuck(struct watchdog *watchdog)
{
	uint64_t entry = atomic_load_explicit(&watchdog->entry, memory_order_acquire);
	unsigned ticks_max =
		atomic_load_explicit(&watchdog->ticks_max, memory_order_relaxed);

	if (entry == 0 || ticks_max == 0 || entry != watchdog->stuck.entry) {
		watchdog->stuck.entry = entry;
		watchdog->stuck.calls = 0;
	} else if (++watchdog->stuck.calls >
		   STUCK_CALLS + ticks_max * WATCHDOG_TICK_MS / 1000) {
		end_process(watchdog, "it stands still");
	}
}

/* --- the signal ------------------------------------------------------------------- */

static void on_tick(struct watchdog *watchdog)
{
	uint64_t entry = atomic_load_explicit(&watchdog->entry, memory_order_relaxed);
	unsigned ticks_max =
		atomic_load_explicit(&watchdog->ticks_max, memory_order_relaxed);

	if (entry == 0 || ticks_max == 0)
		return;
	if (entry != watchdog->seen) {
		watchdog->seen = entry;
		watchdog->ticks = 0;
	}
	watchdog->ticks++;
	/* The first tick may come right after the entry. */
	if (watchdog->ticks <= ticks_max)
		return;
	watchdog->due = 1;
	lua_sethook(watchdog->L, watchdog->hook,
		    LUA_MASKCOUNT | LUA_MASKLINE | LUA_MASKCALL | LUA_MASKRET, 1);
	if (watchdog->ticks > ticks_max + LAST_TICKS)
		end_process(watchdog, "it does not come back");
}

static void on_signal(int number, siginfo_t *info, void *machine)
{
	int before = errno;

	if (info->si_code == SI_TIMER)
		on_tick(info->si_value.sival_ptr);
	errno = before;
}

/* --- entering --------------------------------------------------------------------- */

void watchdog_enter(struct watchdog *watchdog, lua_State *L, int cpu_ms,
		    watchdog_hook_fn *hook)
{
	watchdog->L = L;
	watchdog->hook = hook;
	atomic_store_explicit(&watchdog->ticks_max,
			      ((unsigned)cpu_ms + WATCHDOG_TICK_MS - 1) /
				      WATCHDOG_TICK_MS,
			      memory_order_relaxed);
	watchdog->due = 0;
	atomic_store_explicit(&watchdog->entry, ++watchdog->entries,
			      memory_order_release);
	atomic_signal_fence(memory_order_seq_cst);
}

void watchdog_leave(struct watchdog *watchdog)
{
	atomic_signal_fence(memory_order_seq_cst);
	atomic_store_explicit(&watchdog->entry, 0, memory_order_release);
	atomic_signal_fence(memory_order_seq_cst);
}

bool watchdog_due(const struct watchdog *watchdog)
{
	return watchdog->due;
}

/* --- life ------------------------------------------------------------------------- */

static void allow_signal(void)
{
	struct sigaction action = { .sa_sigaction = on_signal,
				    .sa_flags = SA_SIGINFO | SA_RESTART };
	sigset_t signals;

	sigaction(signal_number(), &action, NULL);
	sigemptyset(&signals);
	sigaddset(&signals, signal_number());
	sigprocmask(SIG_UNBLOCK, &signals, NULL);
}

struct watchdog *watchdog_create(const char *name)
{
	struct watchdog *watchdog = mem_zeroed(1, sizeof(*watchdog));
	struct timespec tick = { 0, WATCHDOG_TICK_MS * 1000000 };
	struct itimerspec every = { tick, tick };
	struct sigevent event = {
		.sigev_notify = SIGEV_THREAD_ID,
		.sigev_signo = signal_number(),
		.sigev_value.sival_ptr = watchdog,
	};

	event.sigev_notify_thread_id = (pid_t)syscall(SYS_gettid);
	watchdog->name = name;
	allow_signal();
	check(timer_create(CLOCK_THREAD_CPUTIME_ID, &event, &watchdog->timer) == 0);
	check(timer_settime(watchdog->timer, 0, &every, NULL) == 0);
	return watchdog;
}

/* A signal may be on its way still: it is blocked, taken out and forgotten first. */
void watchdog_destroy(struct watchdog *watchdog)
{
	struct timespec none = { 0 };
	sigset_t signals;

	if (!watchdog)
		return;
	sigemptyset(&signals);
	sigaddset(&signals, signal_number());
	sigprocmask(SIG_BLOCK, &signals, NULL);
	timer_delete(watchdog->timer);
	while (sigtimedwait(&signals, NULL, &none) > 0)
		;
	free(watchdog);
}
