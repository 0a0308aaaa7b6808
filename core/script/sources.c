/* SPDX-License-Identifier: MIT */
#include "script/sources.h"

#include "base/buf.h"
#include "base/check.h"
#include "base/digest.h"

#include <dirent.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#define PATH_SIZE 1024

struct source {
	char *path;
	struct buf text;
};

struct sources {
	_Atomic unsigned holders;
	bool snapshot;
	struct source **all; /* a snapshot's are sorted by path */
	size_t count;
};

/* --- one file --------------------------------------------------------------------- */

static bool read_text(const char *path, struct buf *text, struct fault *why)
{
	FILE *file = fopen(path, "rb");
	struct stat about;
	bool failed;
	size_t got;

	if (!file)
		return fault_set(why, errno == ENOENT ? FAULT_missing : FAULT_internal,
				 "%s: %s", path, strerror(errno));
	if (fstat(fileno(file), &about) != 0 || !S_ISREG(about.st_mode)) {
		fclose(file);
		return fault_set(why, FAULT_missing, "%s: not a regular file", path);
	}
	do {
		got = fread(buf_reserve(text, 16384), 1, 16384, file);
		text->size += got;
	} while (got && text->size <= SOURCE_SIZE_MAX);
	failed = ferror(file);
	fclose(file);
	if (failed)
		return fault_set(why, FAULT_internal, "%s: cannot be read", path);
	if (text->size > SOURCE_SIZE_MAX)
		return fault_set(why, FAULT_limit, "%s: larger than %u bytes", path,
				 SOURCE_SIZE_MAX);
	return true;
}

static void source_free(struct source *source)
{
	buf_finish(&source->text);
	free(source->path);
	free(source);
}

static struct source *add_file(struct sources *sources, const char *path,
			       struct fault *why)
{
	struct source *source;

	if (sources->count == SOURCES_MAX) {
		fault_set(why, FAULT_limit, "%s: more than %d source files", path,
			  SOURCES_MAX);
		return NULL;
	}
	source = mem_zeroed(1, sizeof(*source));
	source->path = mem_copy(path, strlen(path));
	if (!read_text(path, &source->text, why)) {
		source_free(source);
		return NULL;
	}
	sources->all =
		mem_resize(sources->all, (sources->count + 1) * sizeof(*sources->all));
	sources->all[sources->count++] = source;
	return source;
}

/* --- folders ---------------------------------------------------------------------- */

static bool ends_in_lua(const char *name)
{
	size_t size = strlen(name);

	return size > 4 && strcmp(name + size - 4, ".lua") == 0;
}

static bool add_folder(struct sources *sources, const char *folder, int depth,
		       struct fault *why);

/* A file that is gone again by now is no fault: the snapshot is of a moment. */
static bool add_entry(struct sources *sources, const char *folder,
		      const struct dirent *entry, int depth, struct fault *why)
{
	char path[PATH_SIZE];
	struct stat about;

	if (entry->d_name[0] == '.' ||
	    snprintf(path, sizeof(path), "%s/%s", folder, entry->d_name) >=
		    (int)sizeof(path) ||
	    stat(path, &about) != 0)
		return true;
	if (S_ISDIR(about.st_mode))
		return depth == 1 || add_folder(sources, path, depth - 1, why);
	if (!S_ISREG(about.st_mode) || !ends_in_lua(path))
		return true;
	return add_file(sources, path, why) || why->kind == FAULT_missing;
}

static bool add_folder(struct sources *sources, const char *folder, int depth,
		       struct fault *why)
{
	DIR *listing = opendir(folder);
	struct dirent *entry;
	bool well = true;

	if (!listing)
		return true;
	while (well && (entry = readdir(listing)))
		well = add_entry(sources, folder, entry, depth, why);
	closedir(listing);
	return well;
}

static int by_path(const void *a, const void *b)
{
	const struct source *const *left = a, *const *right = b;

	return strcmp((*left)->path, (*right)->path);
}

struct sources *sources_read(const struct source_folder *folders, size_t count,
			     struct fault *why)
{
	struct sources *sources = sources_create();

	sources->snapshot = true;
	for (size_t i = 0; i < count; i++) {
		if (!folders[i].path ||
		    add_folder(sources, folders[i].path, folders[i].depth, why))
			continue;
		sources_release(sources);
		return NULL;
	}
	if (sources->count)
		qsort(sources->all, sources->count, sizeof(*sources->all), by_path);
	return sources;
}

/* --- asking ----------------------------------------------------------------------- */

static struct source *find(const struct sources *sources, const char *path)
{
	for (size_t i = 0; i < sources->count; i++)
		if (strcmp(sources->all[i]->path, path) == 0)
			return sources->all[i];
	return NULL;
}

/* A cache reads each time: the file may be another one by now. */
static struct source *read_again(struct sources *sources, const char *path,
				 struct fault *why)
{
	struct source *source = find(sources, path);

	if (!source)
		return add_file(sources, path, why);
	buf_reset(&source->text);
	return read_text(path, &source->text, why) ? source : NULL;
}

bool sources_text(struct sources *sources, const char *path, struct slice *text,
		  struct fault *why)
{
	struct source *source =
		sources->snapshot ? find(sources, path) : read_again(sources, path, why);

	if (!source && sources->snapshot)
		fault_set(why, FAULT_missing, "%s: not in this generation", path);
	if (!source)
		return false;
	*text = slice_of(source->text.at ? source->text.at : "", source->text.size);
	return true;
}

struct slice sources_of_chunk(const struct sources *sources, struct slice chunk)
{
	bool cut = slice_starts_with(chunk, SLICE("...")); /* Lua cuts a long name */

	if (cut)
		chunk = slice_of(chunk.at + 3, chunk.size - 3);
	for (size_t i = 0; i < sources->count; i++) {
		struct slice path = slice_text(sources->all[i]->path);
		size_t above = path.size - chunk.size;

		if (chunk.size && path.size >= chunk.size &&
		    memcmp(path.at + above, chunk.at, chunk.size) == 0 &&
		    (above == 0 || cut || chunk.at[0] == '/' ||
		     path.at[above - 1] == '/'))
			return buf_slice(&sources->all[i]->text);
	}
	return (struct slice){ 0 };
}

uint64_t sources_digest(const struct sources *sources)
{
	uint64_t digest = DIGEST_START;

	for (size_t i = 0; i < sources->count; i++) {
		const struct source *source = sources->all[i];

		digest = digest_add(digest, source->path, strlen(source->path) + 1);
		digest = digest_add(digest, source->text.at, source->text.size);
		digest = digest_add(digest, "", 1);
	}
	return digest;
}

/* --- life ------------------------------------------------------------------------- */

struct sources *sources_create(void)
{
	struct sources *sources = mem_zeroed(1, sizeof(*sources));

	atomic_store(&sources->holders, 1);
	return sources;
}

struct sources *sources_share(struct sources *sources)
{
	atomic_fetch_add(&sources->holders, 1);
	return sources;
}

void sources_release(struct sources *sources)
{
	if (!sources || atomic_fetch_sub(&sources->holders, 1) > 1)
		return;
	for (size_t i = 0; i < sources->count; i++)
		source_free(sources->all[i]);
	free(sources->all);
	free(sources);
}
