/* SPDX-License-Identifier: MIT */
/* cmd_run.c -- orrery run [OPTION]... [FILE [ARG...]]: one script as a task on an event
 * loop, with everything a service has but requests; without FILE, or with -i, a session.
 *
 * The script's `...` are the arguments; `require` looks into the folder of FILE, too.
 * What it prints goes to standard output, logs and complaints to standard error. The
 * status is 0, 1 when it raised, 130 after Ctrl-C, or the number it returns.
 */
#include "host/command.h"

#include "api/script_run.h"
#include "base/check.h"
#include "host/conf.h"
#include "host/export.h"
#include "host/interrupt.h"
#include "host/otel.h"
#include "host/repl.h"
#include "host/wiring.h"
#include "loop/loop.h"
#include "loop/worker.h"
#include "script/watchdog.h"
#include "store/amqp.h"
#include "watch/log.h"
#include "watch/metrics.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define HELPER_THREADS 2
#define HELPER_QUEUE_MAX 64
#define FLUSH_MS 3000
#define TIMEOUT_MAX_S 1e6

struct options {
	bool session; /* -i */
	int64_t timeout_ms; /* 0: none */
	bool limits_cpu;
	char **settings; /* "--name value" words, for conf_load */
	size_t setting_count;
	const char *file; /* NULL: a session */
	char *const *args; /* the script's */
	size_t arg_count;
};

struct run {
	const struct options *options;
	const struct conf *conf;
	struct otel_config otel;
	struct metrics *metrics;
	struct export *export;
	struct log_hub *logs;
	struct helper *helper;
	struct wiring_amqp amqp;
	struct wiring wiring;
	struct watchdog *watchdog;
	struct interrupt interrupt;
	struct repl *repl;
	int status;
};

static void on_ended(void *context, struct lua_State *L, const struct fault *why,
		     struct slice report)
{
	struct run *run = context;

	fflush(stdout);
	if (why && !interrupt_came(&run->interrupt))
		fwrite(report.at, 1, report.size, stderr);
	run->status = why ? EXIT_failed : script_run_status(L);
	if (run->status < 0) {
		fprintf(stderr, "orrery run: a script's status is from 0 to 255\n");
		run->status = EXIT_failed;
	}
	loop_stop(run->wiring.loop);
}

static void start_script(struct run *run)
{
	const struct options *options = run->options;
	struct script_file file = { run->conf->service_file, options->args,
				    options->arg_count };
	struct mono deadline = MONO_NEVER;

	if (options->timeout_ms)
		deadline = mono_after_ms(clock_mono(), options->timeout_ms);
	script_run_file(run->wiring.api.vm, &file, deadline, on_ended, run);
}

/* --- Ctrl-C ----------------------------------------------------------------------- */

static void on_signal(void *context)
{
	const struct run *run = context;

	script_run_interrupt(run->wiring.api.vm);
}

static void on_interrupt(void *context)
{
	struct run *run = context;

	if (run->repl)
		repl_interrupt(run->repl);
	else
		loop_stop(run->wiring.loop);
}

/* --- what a service has, too ------------------------------------------------------ */

static void make_shared(struct run *run)
{
	enum log_dialect dialect = LOG_DIALECT_default;
	enum log_severity least = LOG_info;

	log_severity_of(slice_text(run->conf->log_level), &least);
	log_dialect_of(slice_text(run->conf->log_dialect), &dialect);
	run->metrics = metrics_create();
	run->otel.environment = slice_text(run->conf->mode);
	run->export = export_create(&run->otel, run->metrics, least);
	export_lines_to(run->export, STDERR_FILENO);
	export_lines_as(run->export, dialect);
	run->logs = export_logs(run->export);
	run->helper = helper_create(HELPER_THREADS, HELPER_QUEUE_MAX);
}

static bool wire(struct run *run, struct fault *why)
{
	struct wiring_shared shared = { run->conf, &run->otel, run->logs, run->metrics,
					run->helper };

	if (!wiring_amqp_open(&run->amqp, &shared, why) ||
	    !wiring_init(&run->wiring, &shared, why))
		return false;
	run->wiring.api.amqp = run->amqp.amqp;
	if (!wiring_open(&run->wiring, why))
		return false;
	run->watchdog = watchdog_create("run");
	vm_watch(run->wiring.api.vm, run->watchdog);
	return export_start(run->export, &run->wiring.observer.tracer, 1, why);
}

static bool start(struct run *run, struct fault *why)
{
	struct repl_config session = { .interrupt = &run->interrupt };

	if (!otel_config_read(&run->otel, slice_text(run->conf->service), otel_getenv,
			      NULL, why))
		return false;
	make_shared(run);
	if (!wire(run, why) || !script_run_open(run->wiring.api.vm, why))
		return false;
	interrupt_init(&run->interrupt, run->wiring.loop, on_interrupt, run);
	interrupt_at_once(&run->interrupt, on_signal);
	if (run->options->file) {
		start_script(run);
		return true;
	}
	session.loop = run->wiring.loop;
	session.vm = run->wiring.api.vm;
	session.timeout_ms = run->options->timeout_ms;
	run->repl = repl_create(&session, why);
	return run->repl != NULL;
}

/* In the order of host.c, for its reasons. */
static void finish(struct run *run)
{
	interrupt_at_once(&run->interrupt, NULL);
	repl_destroy(run->repl);
	interrupt_finish(&run->interrupt);
	if (run->wiring.loop)
		wiring_stop(&run->wiring);
	watchdog_destroy(run->watchdog);
	amqp_destroy(run->amqp.amqp, FLUSH_MS);
	helper_destroy(run->helper);
	export_stop(run->export, FLUSH_MS);
	if (run->wiring.loop) {
		wiring_unloop(&run->wiring);
		wiring_finish(&run->wiring);
	}
	export_destroy(run->export);
	if (run->metrics)
		metrics_destroy(run->metrics);
	otel_config_finish(&run->otel);
}

static int run_all(const struct options *options, const struct conf *conf)
{
	struct run run = { .options = options, .conf = conf };
	struct fault why;
	int status;

	signal(SIGPIPE, SIG_IGN);
	setvbuf(stdout, NULL, _IOLBF, BUFSIZ); /* whoever waits for a line gets it */
	if (start(&run, &why)) {
		loop_run(run.wiring.loop);
		status = interrupt_came(&run.interrupt) ? INTERRUPT_STATUS : run.status;
	} else {
		fprintf(stderr, "orrery run: %s\n", why.detail);
		status = EXIT_failed;
	}
	finish(&run);
	return status;
}

/* --- the command line ------------------------------------------------------------- */

static bool read_timeout(struct options *options, const char *text, struct fault *why)
{
	char *end;
	double seconds = strtod(text, &end);

	if (*end || end == text || !(seconds > 0) || seconds > TIMEOUT_MAX_S)
		return fault_set(why, FAULT_bad_input,
				 "--timeout is a number of seconds, not '%s'", text);
	options->timeout_ms = (int64_t)(seconds * 1000) + 1;
	return true;
}

static bool is_setting(const char *word, const char *name)
{
	size_t size = strlen(name);

	return strncmp(word, name, size) == 0 && (word[size] == '=' || !word[size]);
}

/* The option at args[*i], which moves on to its value. */
static bool read_option(struct options *options, char *const *args, size_t count,
			size_t *i, struct fault *why)
{
	const char *equals = strchr(args[*i], '=');
	char *word = args[*i];

	if (strcmp(word, "-i") == 0) {
		options->session = true;
		return true;
	}
	if (!equals && *i + 1 == count)
		return fault_set(why, FAULT_bad_input, "%s needs a value", word);
	if (!equals)
		++*i;
	if (is_setting(word, "--timeout"))
		return read_timeout(options, equals ? equals + 1 : args[*i], why);
	options->limits_cpu |= is_setting(word, "--cpu_ms");
	options->settings[options->setting_count++] = word;
	if (!equals)
		options->settings[options->setting_count++] = args[*i];
	return true;
}

static bool read_options(struct options *options, char *const *args, size_t count,
			 struct fault *why)
{
	size_t i;

	for (i = 0; i < count && args[i][0] == '-'; i++)
		if (!read_option(options, args, count, &i, why))
			return false;
	if (i == count)
		return true;
	if (options->session)
		return fault_set(why, FAULT_bad_input, "-i takes no file");
	if (!slice_ends_with(slice_text(args[i]), SLICE(".lua")))
		return fault_set(why, FAULT_bad_input, "%s: a script's name ends in .lua",
				 args[i]);
	if (access(args[i], R_OK) != 0)
		return fault_set(why, FAULT_missing, "%s: %s", args[i], strerror(errno));
	options->file = args[i];
	options->args = args + i + 1;
	options->arg_count = count - i - 1;
	return true;
}

int cmd_run(char *const *args, size_t count)
{
	struct options options = { 0 };
	struct conf conf = { 0 };
	struct fault why;
	int status;

	options.settings = mem_zeroed(count + 1, sizeof(*options.settings));
	if (read_options(&options, args, count, &why) &&
	    conf_load(&conf, options.file, options.settings, options.setting_count,
		      &why)) {
		if (!options.limits_cpu)
			conf.cpu_ms = 0;
		status = run_all(&options, &conf);
	} else {
		status = command_refuse("run", why.detail);
	}
	conf_finish(&conf);
	free(options.settings);
	return status;
}
