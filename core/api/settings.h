/* SPDX-License-Identifier: MIT */
/* settings.h -- named values: what conf/<lab>.lua says of a service, and what scripts may
 * see.
 *
 * conf/<lab>.lua is Lua used as data: it returns {defaults = {...}, services = {<name> =
 * {...}}}. A service's table lies over the defaults, key by key. Every value is kept as
 * JSON text, a text also as it is.
 */
#ifndef API_SETTINGS_H
#define API_SETTINGS_H

#include "base/fault.h"

struct lua_State;

struct settings;

struct settings *settings_create(void);

/* NULL is allowed. */
void settings_destroy(struct settings *settings);

/* Both replace; copy. */
void settings_set_text(struct settings *settings, struct slice name, struct slice text);
void settings_set_json(struct settings *settings, struct slice name, struct slice json);

/* A text as it is, anything else as JSON; at NULL when there is none. Borrowed until it
 * is replaced. */
struct slice settings_get(const struct settings *settings, struct slice name);

/* Iterates in the order of setting; false at the end. */
bool settings_at(const struct settings *settings, size_t index, struct slice *name);

/* Adds what the file says about the service. lib_dir: for the VM it runs in. A service
 * the file does not name has the defaults only. False: the file cannot be read or run. */
bool settings_read_file(struct settings *settings, const char *path, const char *lib_dir,
			struct slice service, struct fault *why);

/* Pushes the value or nil: api->push_setting, with the settings as context. */
void settings_push(struct lua_State *L, void *context, struct slice name);

#endif
