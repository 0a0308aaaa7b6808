/* SPDX-License-Identifier: MIT */
/* conf_fuzz.c -- any text as conf/<lab>.lua, and any words behind it on the command line.
 *
 * The text ends at the first NUL; the rest is arguments, one a line. It lies in a folder
 * of its own in memory, with all that a root has, and goes the whole way: conf_load.
 * Either every setting is within its bounds, or there is a reason. A text that could run
 * on is left out: the file is the operator's, and its time is not what is tried here.
 */
#include "base/check.h"
#include "host/conf.h"

#include <ctype.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define ARGUMENTS_MAX 16
#define SERVICE "scripts/lab/sample/service.lua"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char root[64]; /* an absolute path: libFuzzer's own are not, so nobody moves */

/* root/name, until the next call. */
static const char *in_root(const char *name)
{
	static char path[128];

	snprintf(path, sizeof(path), "%s/%s", root, name);
	return path;
}

static void put(const char *name, struct slice text)
{
	int fd = open(in_root(name), O_WRONLY | O_CREAT | O_TRUNC, 0600);

	check(fd >= 0);
	check(write(fd, text.at, text.size) == (ssize_t)text.size);
	close(fd);
}

static const char *const folders[] = { "",	  "conf",	 "lib",
				       "scripts", "scripts/lab", "scripts/lab/sample" };
static const char *const files[] = { "conf/lab.lua", "lib/app.lua", SERVICE };

static void clear(void)
{
	for (size_t i = sizeof(files) / sizeof(*files); i-- > 0;)
		remove(in_root(files[i]));
	for (size_t i = sizeof(folders) / sizeof(*folders); i-- > 0;)
		remove(in_root(folders[i]));
}

static void begin(void)
{
	snprintf(root, sizeof(root), "/dev/shm/conf-fuzz-XXXXXX");
	check(mkdtemp(root));
	for (size_t i = 1; i < sizeof(folders) / sizeof(*folders); i++)
		check(mkdir(in_root(folders[i]), 0700) == 0);
	for (size_t i = 0; i < sizeof(files) / sizeof(*files); i++)
		put(files[i], SLICE(""));
	atexit(clear);
	unsetenv("ORRERY_ROOT");
}

/* Whether a word begins in the text that could make it go on for ever, or a name that
 * could. */
static bool runs_on(struct slice text)
{
	static const char *const words[] = { "while",	 "repeat", "for",  "goto",
					     "function", "rep",	   "load", "require" };

	for (size_t i = 0; i < sizeof(words) / sizeof(*words); i++) {
		struct slice rest = text;
		const char *at;

		while ((at = memmem(rest.at, rest.size, words[i], strlen(words[i])))) {
			if (at == text.at || !isalpha((unsigned char)at[-1]))
				return true;
			rest = slice_of(at + 1, rest.size - (size_t)(at + 1 - rest.at));
		}
	}
	return false;
}

static void check_loaded(const struct conf *conf)
{
#define TEXT(name, value, why) check(conf->name != NULL);
#define SECRET(name, why) check(conf->name != NULL);
#define NUMBER(name, value, least, most, why)                                            \
	check((long)conf->name >= (long)(least) && conf->name <= (most));
#include "host/conf.def"
#undef TEXT
#undef SECRET
#undef NUMBER
	check(strcmp(conf->service, "sample") == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct slice rest = slice_of((const char *)data, size), text, word;
	char *args[ARGUMENTS_MAX];
	size_t count = 0;
	struct fault why = { 0 };
	struct conf conf;

	if (!*root)
		begin();
	if (size == 0)
		return 0;
	slice_cut(&rest, '\0', &text);
	if (runs_on(text))
		return 0;
	while (rest.at && count < ARGUMENTS_MAX && slice_cut(&rest, '\n', &word))
		args[count++] = mem_copy(word.size ? word.at : "", word.size);
	put("conf/lab.lua", text);
	if (conf_load(&conf, in_root(SERVICE), args, count, &why))
		check_loaded(&conf);
	else
		check(why.detail[0]);
	conf_finish(&conf);
	while (count)
		free(args[--count]);
	return 0;
}
