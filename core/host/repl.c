/* SPDX-License-Identifier: MIT */
#include "host/repl.h"

#include "api/script_run.h"
#include "base/buf.h"
#include "base/check.h"
#include "host/interrupt.h"
#include "loop/loop.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define READ_STEP 65536
#define INPUT_MAX (1u << 20)

struct repl {
	struct repl_config config;
	bool prompts;
	int fd; /* of the input, our own */
	struct loop_fd *watch; /* NULL: a file, which is always ready */
	struct deferred next;
	struct buf read; /* what has come, lines not taken yet */
	struct buf input; /* the lines of an incomplete input */
	bool ended; /* no more will come */
	struct evaluation *running; /* NULL: none */
};

/* Outlives the session when that ends first. */
struct evaluation {
	struct repl *repl; /* NULL: it has ended */
};

static void take_next(void *context);

/* --- what a person sees ----------------------------------------------------------- */

static const char banner[] = "orrery " ORRERY_VERSION
			     ": each input is a task; waits work. Globals stay, locals "
			     "end with\ntheir input. help says more, Ctrl-D ends.\n";

static const char help[] =
	"An expression prints its values, a statement runs; what is incomplete goes on "
	"on the "
	"next\nline. Modules come with require: lib/ and the native ones.\n\n"
	"  clock = require \"clock\"       a global: it is there in the next input\n"
	"  clock.iso()\n"
	"  require(\"task\").sleep(1)      Ctrl-C ends the wait\n"
	"  local db = require \"db\" return db.query(\"select 1 as one\")\n\n"
	"Stores are those of the settings: ORRERY_POSTGRES_URL, ORRERY_REDIS_URL, ...\n";

static void prompt(const struct repl *repl)
{
	if (!repl->prompts)
		return;
	fputs(repl->input.size ? "... " : "> ", stdout);
	fflush(stdout);
}

/* --- one input -------------------------------------------------------------------- */

static void on_ended(void *context, struct lua_State *L, const struct fault *why,
		     struct slice report)
{
	struct evaluation *evaluation = context;
	struct repl *repl = evaluation->repl;

	free(evaluation);
	fflush(stdout);
	if (!repl)
		return;
	if (why)
		fwrite(report.at, 1, report.size, stderr);
	repl->running = NULL;
	script_run_continue(repl->config.vm);
	interrupt_rearm(repl->config.interrupt);
	prompt(repl);
	loop_defer(repl->config.loop, &repl->next, take_next, repl);
}

static enum script_input start_input(struct repl *repl, struct buf *message)
{
	struct evaluation *evaluation = mem_zeroed(1, sizeof(*evaluation));
	struct mono deadline = MONO_NEVER;
	enum script_input outcome;

	if (repl->config.timeout_ms)
		deadline = mono_after_ms(clock_mono(), repl->config.timeout_ms);
	evaluation->repl = repl;
	outcome = script_run_input(repl->config.vm, buf_slice(&repl->input), deadline,
				   message, on_ended, evaluation);
	if (outcome == INPUT_started)
		repl->running = evaluation;
	else
		free(evaluation);
	return outcome;
}

/* Whether the input is over: it runs, or it is wrong. */
static bool try_input(struct repl *repl)
{
	struct buf message = { 0 };
	enum script_input outcome = INPUT_wrong;

	if (repl->input.size > INPUT_MAX)
		buf_printf(&message, "an input is larger than %u bytes", INPUT_MAX);
	else
		outcome = start_input(repl, &message);
	if (outcome == INPUT_incomplete && repl->ended && !repl->read.size)
		outcome = INPUT_wrong;
	if (outcome == INPUT_wrong)
		fprintf(stderr, "%s\n", buf_text(&message));
	buf_finish(&message);
	return outcome != INPUT_incomplete;
}

/* --- line after line -------------------------------------------------------------- */

/* Takes a line into the input. False: there is none yet. */
static bool take_line(struct repl *repl)
{
	struct slice rest = buf_slice(&repl->read), line;

	if (!rest.size || (!memchr(rest.at, '\n', rest.size) && !repl->ended))
		return false;
	slice_cut(&rest, '\n', &line);
	buf_append(&repl->input, line);
	buf_append_byte(&repl->input, '\n');
	buf_consume(&repl->read, line.size < repl->read.size ? line.size + 1 : line.size);
	return true;
}

static bool is_blank(struct slice text)
{
	for (size_t i = 0; i < text.size; i++)
		if (!strchr(" \t\r\n", text.at[i]))
			return false;
	return true;
}

static void take_input(struct repl *repl)
{
	struct slice text = buf_slice(&repl->input);

	if (slice_equal(text, SLICE("help\n")))
		fputs(help, stdout);
	else if (!is_blank(text) && !try_input(repl))
		return; /* more lines may complete it */
	buf_reset(&repl->input);
}

static void read_more(struct repl *repl);

static void take_next(void *context)
{
	struct repl *repl = context;

	while (!repl->running && take_line(repl)) {
		take_input(repl);
		if (!repl->running)
			prompt(repl);
	}
	if (repl->running)
		return;
	if (!repl->ended && !repl->watch)
		read_more(repl);
	if (repl->ended && repl->input.size) { /* says what is missing */
		try_input(repl);
		buf_reset(&repl->input);
	}
	if (repl->ended && !repl->running)
		loop_stop(repl->config.loop);
}

/* --- reading ---------------------------------------------------------------------- */

static void read_more(struct repl *repl)
{
	ssize_t got = read(repl->fd, buf_reserve(&repl->read, READ_STEP), READ_STEP);

	if (got > 0) {
		repl->read.size += (size_t)got;
	} else if (got == 0 || (errno != EAGAIN && errno != EINTR)) {
		repl->ended = true;
		if (repl->watch)
			loop_fd_want(repl->watch, false, false);
		if (repl->prompts)
			putchar('\n');
	}
	loop_defer(repl->config.loop, &repl->next, take_next, repl);
}

static void on_readable(void *context, bool readable, bool writable)
{
	read_more(context);
}

/* Whether epoll takes it. */
static bool is_stream(int fd)
{
	struct stat about;

	return isatty(fd) || (fstat(fd, &about) == 0 &&
			      (S_ISFIFO(about.st_mode) || S_ISSOCK(about.st_mode)));
}

/* A terminal or pipe that others hold as well must not become non-blocking for them: ours
 * is opened anew, where that can be done. */
static bool open_input(struct repl *repl, struct fault *why)
{
	repl->fd = -1;
	if (is_stream(STDIN_FILENO))
		repl->fd = open("/proc/self/fd/0",
				O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	if (repl->fd < 0)
		repl->fd = fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 3);
	if (repl->fd < 0)
		return fault_set(why, FAULT_unavailable, "standard input: %s",
				 strerror(errno));
	if (is_stream(repl->fd)) {
		repl->watch =
			loop_fd_create(repl->config.loop, repl->fd, on_readable, repl);
		loop_fd_want(repl->watch, true, false);
	}
	return true;
}

/* --- Ctrl-C ----------------------------------------------------------------------- */

void repl_interrupt(struct repl *repl)
{
	struct fault why;

	if (!interrupt_came(repl->config.interrupt))
		return; /* what it was for has ended meanwhile */
	if (repl->prompts)
		putchar('\n');
	if (repl->running) { /* on_ended goes on */
		fault_set(&why, FAULT_cancelled, "interrupted");
		task_wake_all(repl->config.vm, &why);
		return;
	}
	script_run_continue(repl->config.vm);
	interrupt_rearm(repl->config.interrupt);
	buf_reset(&repl->input);
	prompt(repl);
}

/* --- life ------------------------------------------------------------------------- */

struct repl *repl_create(const struct repl_config *config, struct fault *why)
{
	struct repl *repl = mem_zeroed(1, sizeof(*repl));

	repl->config = *config;
	repl->prompts = isatty(STDIN_FILENO);
	if (!script_run_open_session(config->vm, why) || !open_input(repl, why)) {
		free(repl);
		return NULL;
	}
	if (repl->prompts)
		fputs(banner, stdout);
	prompt(repl);
	loop_defer(config->loop, &repl->next, take_next, repl);
	return repl;
}

void repl_destroy(struct repl *repl)
{
	if (!repl)
		return;
	if (repl->running)
		repl->running->repl = NULL;
	loop_undefer(&repl->next);
	loop_fd_destroy(repl->watch);
	close(repl->fd);
	buf_finish(&repl->read);
	buf_finish(&repl->input);
	free(repl);
}
