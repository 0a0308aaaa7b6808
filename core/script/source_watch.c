/* SPDX-License-Identifier: MIT */
#include "script/source_watch.h"

#include "base/check.h"
#include "base/digest.h"
#include "loop/loop.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#define FOLDERS_MAX 4
#define PATH_SIZE 1024
#define EVENTS                                                                           \
	(IN_CLOSE_WRITE | IN_CREATE | IN_DELETE | IN_MOVED_FROM | IN_MOVED_TO |          \
	 IN_ONLYDIR)

struct source_watch {
	struct loop *loop;
	struct source_folder folders[FOLDERS_MAX];
	size_t count;
	void (*changed)(void *context);
	void *context;
	int fd; /* of inotify; -1: there is none to be had, polling has to do */
	struct loop_fd *events;
	uint64_t seen; /* what the files looked like at the last look */
	struct timer poll;
	struct timer quiet;
	struct mono first; /* of the changes that quiet waits for */
};

/* --- looking ---------------------------------------------------------------------- */

static uint64_t look_at_folder(struct source_watch *watch, const char *folder, int depth);

/* Sums, for folders list their entries in any order. */
static uint64_t look_at(struct source_watch *watch, const char *folder, const char *name,
			int depth)
{
	char path[PATH_SIZE];
	struct stat about;
	size_t size = strlen(name);
	uint64_t stamp = DIGEST_START;

	if (name[0] == '.' ||
	    snprintf(path, sizeof(path), "%s/%s", folder, name) >= (int)sizeof(path))
		return 0;
	if (stat(path, &about) != 0)
		return 0;
	if (S_ISDIR(about.st_mode))
		return depth == 1 ? 0 : look_at_folder(watch, path, depth - 1);
	if (size <= 4 || strcmp(name + size - 4, ".lua") != 0)
		return 0;
	stamp = digest_add(stamp, path, strlen(path));
	stamp = digest_add(stamp, &about.st_ino, sizeof(about.st_ino));
	stamp = digest_add(stamp, &about.st_size, sizeof(about.st_size));
	return digest_add(stamp, &about.st_mtim, sizeof(about.st_mtim));
}

/* Watches it as well: new folders are found by looking. */
static uint64_t look_at_folder(struct source_watch *watch, const char *folder, int depth)
{
	DIR *listing = opendir(folder);
	struct dirent *entry;
	uint64_t stamp = 0;

	if (!listing)
		return 0;
	if (watch->fd >= 0)
		inotify_add_watch(watch->fd, folder, EVENTS);
	while ((entry = readdir(listing)))
		stamp += look_at(watch, folder, entry->d_name, depth);
	closedir(listing);
	return stamp;
}

static uint64_t look(struct source_watch *watch)
{
	uint64_t stamp = 0;

	for (size_t i = 0; i < watch->count; i++)
		if (watch->folders[i].path)
			stamp += look_at_folder(watch, watch->folders[i].path,
						watch->folders[i].depth);
	return stamp;
}

/* --- telling ---------------------------------------------------------------------- */

static void on_quiet(void *context)
{
	struct source_watch *watch = context;

	watch->seen = look(watch);
	watch->changed(watch->context);
}

static void note_change(struct source_watch *watch)
{
	struct mono now = clock_mono();

	if (!timer_started(&watch->quiet))
		watch->first = now;
	timer_start(watch->loop, &watch->quiet,
		    mono_earlier(mono_after_ms(now, SOURCE_QUIET_MS),
				 mono_after_ms(watch->first, SOURCE_QUIET_MAX_MS)),
		    on_quiet, watch);
}

static void on_poll(void *context)
{
	struct source_watch *watch = context;
	uint64_t now = look(watch);

	if (now != watch->seen)
		note_change(watch);
	watch->seen = now;
	timer_start(watch->loop, &watch->poll,
		    mono_after_ms(clock_mono(), SOURCE_POLL_MS), on_poll, watch);
}

static bool is_about_source(const struct inotify_event *event)
{
	size_t size = event->len ? strlen(event->name) : 0;

	if (event->mask & (IN_ISDIR | IN_Q_OVERFLOW | IN_IGNORED))
		return true;
	return size > 4 && event->name[0] != '.' &&
	       strcmp(event->name + size - 4, ".lua") == 0 && !(event->mask & IN_CREATE);
}

static void on_events(void *context, bool readable, bool writable)
{
	struct source_watch *watch = context;
	char events[4096] __attribute__((aligned(__alignof__(struct inotify_event))));
	bool any = false;
	ssize_t got;

	while ((got = read(watch->fd, events, sizeof(events))) > 0) {
		for (char *at = events; at < events + got;) {
			const struct inotify_event *event = (void *)at;

			any = any || is_about_source(event);
			at += sizeof(*event) + event->len;
		}
	}
	if (any)
		note_change(watch);
}

/* --- life ------------------------------------------------------------------------- */

struct source_watch *source_watch_create(struct loop *loop,
					 const struct source_folder *folders,
					 size_t count, void (*changed)(void *context),
					 void *context)
{
	struct source_watch *watch = mem_zeroed(1, sizeof(*watch));

	check(count <= FOLDERS_MAX);
	watch->loop = loop;
	memcpy(watch->folders, folders, count * sizeof(*folders));
	watch->count = count;
	watch->changed = changed;
	watch->context = context;
	watch->fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
	if (watch->fd >= 0) {
		watch->events = loop_fd_create(loop, watch->fd, on_events, watch);
		loop_fd_want(watch->events, true, false);
	}
	watch->seen = look(watch);
	timer_start(loop, &watch->poll, mono_after_ms(clock_mono(), SOURCE_POLL_MS),
		    on_poll, watch);
	return watch;
}

void source_watch_destroy(struct source_watch *watch)
{
	if (!watch)
		return;
	timer_stop(watch->loop, &watch->poll);
	timer_stop(watch->loop, &watch->quiet);
	loop_fd_destroy(watch->events);
	if (watch->fd >= 0)
		close(watch->fd);
	free(watch);
}
