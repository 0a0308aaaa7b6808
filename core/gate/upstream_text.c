/* SPDX-License-Identifier: MIT */
/* upstream_text.c -- lists of addresses, as definitions and files have them. */
#include "gate/upstream_inside.h"

#include "http/http_url.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define FILE_SIZE_MAX (64 * 1024)
#define BLANKS ", \t\r\n"

static bool cut_word(struct slice *text, struct slice *word)
{
	size_t begin = 0, end;

	while (begin < text->size && memchr(BLANKS, text->at[begin], sizeof(BLANKS) - 1))
		begin++;
	for (end = begin; end < text->size; end++)
		if (memchr(BLANKS, text->at[end], sizeof(BLANKS) - 1))
			break;
	*word = slice_of(text->at + begin, end - begin);
	*text = slice_of(text->at + end, text->size - end);
	return word->size > 0;
}

static bool word_parse(struct slice word, bool files, struct http_url *url,
		       struct slice *path, struct fault *why)
{
	struct fault inner;
	const char *trouble = NULL;

	*path = SLICE("");
	if (files && slice_starts_with(word, SLICE("file://"))) {
		*path = slice_of(word.at + 7, word.size - 7);
		if (path->size == 0 || path->at[0] != '/' ||
		    memchr(path->at, '\0', path->size))
			trouble = "the path of a file begins with '/'";
	} else if (!http_url_parse(word, url, &inner)) {
		trouble = inner.detail;
	} else if (url->target.size > 1 || (url->target.size == 1 && url->path_missing)) {
		trouble = "an address has no path";
	}
	/* A word may hold a secret where it should not. */
	if (trouble && memchr(word.at, '@', word.size))
		return fault_set(why, FAULT_bad_input, "%s", trouble);
	return !trouble ||
	       fault_set(why, FAULT_bad_input, "%.*s: %s",
			 word.size > 80 ? 80 : (int)word.size, word.at, trouble);
}

bool upstream_text_read(struct slice text, bool files, upstream_each_fn *each,
			void *context, struct fault *why)
{
	struct slice word, path;
	struct http_url url;

	while (cut_word(&text, &word)) {
		if (!word_parse(word, files, &url, &path, why))
			return false;
		if (each)
			each(context, path.size > 0 ? NULL : &url, path);
	}
	return true;
}

bool gate_addresses_good(struct slice addresses, struct fault *why)
{
	struct slice rest = addresses, word;

	if (!cut_word(&rest, &word))
		return fault_set(why, FAULT_bad_input, "there is no address");
	return upstream_text_read(addresses, true, NULL, NULL, why);
}

static bool read_all(int fd, size_t size, struct buf *into)
{
	while (size > 0) {
		ssize_t got = read(fd, buf_reserve(into, size), size);

		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			return got == 0;
		into->size += (size_t)got;
		size -= (size_t)got;
	}
	return true;
}

static bool file_read(const char *path, struct buf *into, struct fault *why)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	struct stat about;
	bool good;

	if (fd < 0)
		return fault_set(why, FAULT_unavailable, "%s", strerror(errno));
	if (fstat(fd, &about) != 0)
		good = fault_set(why, FAULT_unavailable, "%s", strerror(errno));
	else if (!S_ISREG(about.st_mode))
		good = fault_set(why, FAULT_unavailable, "it is not a file");
	else if (about.st_size > FILE_SIZE_MAX)
		good = fault_set(why, FAULT_limit, "it is larger than %d KB",
				 FILE_SIZE_MAX / 1024);
	else if (!read_all(fd, (size_t)about.st_size, into))
		good = fault_set(why, FAULT_unavailable, "%s", strerror(errno));
	else
		good = true;
	close(fd);
	return good;
}

bool upstream_file_load(const char *path, struct buf *into, struct fault *why)
{
	struct slice rest, word;

	if (!file_read(path, into, why))
		return false;
	rest = buf_slice(into);
	if (!cut_word(&rest, &word))
		return fault_set(why, FAULT_bad_input, "there is no address in it");
	return upstream_text_read(buf_slice(into), false, NULL, NULL, why);
}
