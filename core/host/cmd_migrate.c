/* SPDX-License-Identifier: MIT */
/* cmd_migrate.c -- orrery migrate LAB: applies scripts/LAB/<service>/schema.sql of every
 * service.
 *
 * ORRERY_POSTGRES_ADMIN_URL says where, as the owner of the database. One line for each
 * section that was applied, and a summary. Safe to run again, and by several at once.
 */
#include "host/command.h"

#include "base/buf.h"
#include "base/check.h"
#include "host/conf.h"
#include "store/pg_migrate.h"
#include "store/pg_section.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FILE_SIZE_MAX (16u << 20)

static bool is_name(const char *name)
{
	return *name &&
	       strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_") == strlen(name);
}

/* False with why unless the file was read; a file that is not there has no text. */
static bool read_file(const char *path, struct buf *text, struct fault *why)
{
	FILE *file = fopen(path, "r");
	size_t size;

	if (!file && errno == ENOENT)
		return true;
	if (!file)
		return fault_set(why, FAULT_missing, "%s", strerror(errno));
	do {
		size = fread(buf_reserve(text, 1 << 16), 1, 1 << 16, file);
		text->size += size;
	} while (size > 0 && text->size <= FILE_SIZE_MAX);
	if (ferror(file) || text->size > FILE_SIZE_MAX)
		fault_set(why, FAULT_bad_input, "it cannot be read, or is too large");
	size = !ferror(file) && text->size <= FILE_SIZE_MAX;
	fclose(file);
	return size;
}

static void applied(void *context, const char *service, unsigned version,
		    struct slice name)
{
	unsigned *count = context;

	++*count;
	printf("%s: migration %u: %.*s\n", service, version, SLICE_PRINT(name));
	fflush(stdout);
}

static bool migrate_file(struct pg_migrate *migrate, const char *lab, const char *service,
			 const char *path, struct fault *why)
{
	struct pg_section *sections = mem_zeroed(PG_SECTIONS_MAX, sizeof(*sections));
	struct buf text = { 0 };
	size_t count = 0;
	bool well = read_file(path, &text, why);

	if (well && text.size > 0)
		well = pg_sections_read(buf_slice(&text), sections, &count, why) &&
		       pg_migrate_service(migrate, lab, service, sections, count, why);
	buf_finish(&text);
	free(sections);
	return well;
}

static int is_service(const struct dirent *entry)
{
	return is_name(entry->d_name);
}

/* Every service of the lab, by name; stops at the first failure. */
static bool migrate_lab(struct pg_migrate *migrate, const char *root, const char *lab,
			size_t *services)
{
	char *folder = conf_path(root, "scripts", lab, NULL);
	struct dirent **entries = NULL;
	int count = scandir(folder, &entries, is_service, alphasort);
	struct fault why;
	bool well = count >= 0;

	for (int i = 0; i < count; i++) {
		char *path = conf_path(folder, entries[i]->d_name, "schema.sql", NULL);

		if (well && !migrate_file(migrate, lab, entries[i]->d_name, path, &why)) {
			fprintf(stderr, "orrery migrate: %s: %s\n", path, why.detail);
			well = false;
		}
		*services += well;
		free(path);
		free(entries[i]);
	}
	free(entries);
	if (count < 0)
		fprintf(stderr, "orrery migrate: %s: %s\n", folder, strerror(errno));
	free(folder);
	return well;
}

int cmd_migrate(char *const *args, size_t count)
{
	const char *url = getenv("ORRERY_POSTGRES_ADMIN_URL");
	unsigned sections = 0;
	size_t services = 0;
	struct pg_migrate *migrate;
	struct fault why;
	char *root;
	bool well;

	if (count != 1 || !is_name(args[0]))
		return command_refuse("migrate", "which lab? A folder of scripts/");
	if (!url || !*url)
		return command_refuse("migrate",
				      "set ORRERY_POSTGRES_ADMIN_URL to the owner's url");
	root = conf_find_root(NULL, &why);
	if (!root)
		return command_refuse("migrate", why.detail);
	migrate = pg_migrate_open(url, applied, &sections, &why);
	if (!migrate) {
		fprintf(stderr, "orrery migrate: %s\n", why.detail);
		free(root);
		return EXIT_failed;
	}
	well = migrate_lab(migrate, root, args[0], &services);
	pg_migrate_close(migrate);
	free(root);
	printf("%s: %u applied, %zu services looked at\n", args[0], sections, services);
	return well ? EXIT_well : EXIT_failed;
}
