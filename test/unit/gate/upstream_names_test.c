/* SPDX-License-Identifier: MIT */
#include "upstream_rig.h"

#include <arpa/inet.h>
#include <netdb.h>

/* --- a name server of our own ----------------------------------------------------- */

static pthread_mutex_t names_lock = PTHREAD_MUTEX_INITIALIZER;
static const char *names[8]; /* what "orders" stands for; under names_lock */
static atomic_uint lookups;
static atomic_bool names_hang;

static void set_names(const char *first, const char *second, const char *third)
{
	pthread_mutex_lock(&names_lock);
	names[0] = first;
	names[1] = second;
	names[2] = third;
	pthread_mutex_unlock(&names_lock);
}

/* In place of the C library's. */
int getaddrinfo(const char *host, const char *port, const struct addrinfo *hints,
		struct addrinfo **list)
{
	struct addrinfo **end = list;

	*list = NULL;
	atomic_fetch_add(&lookups, 1);
	while (atomic_load(&names_hang))
		usleep(1000);
	if (strcmp(host, "orders") != 0)
		return EAI_NONAME;
	pthread_mutex_lock(&names_lock);
	for (int i = 0; names[i]; i++) {
		struct addrinfo *one = calloc(1, sizeof(*one));
		struct sockaddr_in *at = calloc(1, sizeof(*at));

		at->sin_family = AF_INET;
		at->sin_port = htons((uint16_t)atoi(port));
		inet_pton(AF_INET, names[i], &at->sin_addr);
		one->ai_addr = (struct sockaddr *)at;
		one->ai_addrlen = sizeof(*at);
		*end = one;
		end = &one->ai_next;
	}
	pthread_mutex_unlock(&names_lock);
	return *list ? 0 : EAI_NONAME;
}

void freeaddrinfo(struct addrinfo *list)
{
	while (list) {
		struct addrinfo *next = list->ai_next;

		free(list->ai_addr);
		free(list);
		list = next;
	}
}

static bool has(struct rig *rig, const char *text)
{
	return strcmp(look(rig).text, text) == 0;
}

static void use(struct rig *rig, const char *addresses)
{
	rig->def.addresses = slice_text(addresses);
	rig_use(rig);
}

/* --- texts ------------------------------------------------------------------------ */

static void addresses_are_texts_of_host_and_port(void **state)
{
	struct rig *rig = rig_create(0);
	struct gate_address *address, *tried[4];

	use(rig, " http://127.0.0.1:8001/,\n\thttp://[::1]:8001 http://[0:0::2]:80, ,"
		 "http://127.0.0.1:8001,http://127.0.0.2");
	assert_true(has(rig, "127.0.0.1:8001 [::1]:8001 [::2]:80 127.0.0.2:80 "));
	for (unsigned i = 0; i < 4; i++) {
		address = gate_upstream_pick(rig_upstream(rig), tried, i, NULL);
		tried[i] = address;
		if (!slice_equal(gate_address_text(address), SLICE("[::1]:8001")))
			continue;
		assert_true(slice_equal(gate_address_host(address), SLICE("::1")));
		assert_int_equal(gate_address_port(address), 8001);
		rig_destroy(rig);
		return;
	}
	fail_msg("one of four was not picked in four picks");
}

static void what_is_no_address_is_told(void **state)
{
	static const struct {
		const char *text, *says;
	} cases[] = {
		{ "", "there is no address" },
		{ " ,\n", "there is no address" },
		{ "127.0.0.1:8001", "127.0.0.1:8001: the URL does not begin" },
		{ "http://a,https://b", "https://b: the URL does not begin" },
		{ "http://a/x", "http://a/x: an address has no path" },
		{ "http://a?x", "an address has no path" },
		{ "http://a:0", "the port" },
		{ "http://me:secret@a", "the URL holds credentials" },
		{ "file://list", "the path of a file begins with '/'" },
		{ "file://", "the path of a file begins with '/'" },
	};
	struct fault why;

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		assert_false(gate_addresses_good(slice_text(cases[i].text), &why));
		assert_int_equal(why.kind, FAULT_bad_input);
		if (!strstr(why.detail, cases[i].says))
			fail_msg("%s: %s", cases[i].text, why.detail);
		assert_null(strstr(why.detail, "secret"));
	}
	assert_true(gate_addresses_good(SLICE("http://a:1/ http://b,file:///c"), &why));
}

static void no_more_than_so_many_addresses_are_used(void **state)
{
	struct rig *rig = rig_create(0);
	struct buf text = { 0 };
	struct gate_address_view view;

	for (int i = 0; i < 300; i++)
		buf_printf(&text, "http://127.0.1.%d:%d ", i % 250, 1 + i / 250);
	rig->def.addresses = buf_slice(&text);
	rig_use(rig);
	rig_use(rig);
	view = look(rig).last;
	assert_true(slice_equal(view.address, SLICE("127.0.1.5:2")));
	assert_true(shown(rig, "up") == GATE_ADDRESSES_MAX);
	assert_int_equal(logged(rig, "more than 256 addresses"), 1);
	buf_finish(&text);
	rig_destroy(rig);
}

/* --- names ------------------------------------------------------------------------ */

static void a_name_stands_for_what_it_stands_for_now(void **state)
{
	struct rig *rig = rig_create(0);

	set_names("127.0.0.2", "127.0.0.1", NULL);
	use(rig, "http://orders:8001,http://127.0.0.9:8001");
	assert_true(has(rig, "127.0.0.9:8001 "));
	until(rig, has(rig, "127.0.0.1:8001 127.0.0.2:8001 127.0.0.9:8001 "));
	set_names("127.0.0.3", "127.0.0.2", NULL);
	until(rig, has(rig, "127.0.0.2:8001 127.0.0.3:8001 127.0.0.9:8001 "));
	assert_true(shown(rig, "up") == 3);
	rig_destroy(rig);
}

static void a_lookup_that_fails_leaves_what_is_known(void **state)
{
	struct rig *rig = rig_create(0);
	unsigned before;
	struct try try;

	set_names(NULL, NULL, NULL);
	use(rig, "http://orders:8001");
	until(rig, look(rig).trouble[0] != '\0');
	assert_non_null(strstr(look(rig).trouble, "the name orders has no address"));
	try_start(&try, rig, "/");
	assert_int_equal(try.why.kind, FAULT_unavailable);
	set_names("127.0.0.1", NULL, NULL);
	until(rig, has(rig, "127.0.0.1:8001 "));
	set_names(NULL, NULL, NULL);
	before = atomic_load(&lookups);
	until(rig, atomic_load(&lookups) > before + 3);
	assert_true(has(rig, "127.0.0.1:8001 "));
	rig_destroy(rig);
}

static void a_name_that_answers_late_holds_nobody_up(void **state)
{
	struct rig *rig = rig_create(1);
	unsigned before = atomic_load(&lookups);

	set_names("127.0.0.1", NULL, NULL);
	atomic_store(&names_hang, true);
	snprintf(rig->addresses + strlen(rig->addresses), 40, "http://orders:1");
	use(rig, rig->addresses);
	until(rig, atomic_load(&lookups) == before + 1);
	for (int i = 0; i < 5; i++)
		assert_true(went_well(rig, "/"));
	assert_int_equal(atomic_load(&lookups), before + 1);
	/* Nobody waits for it at the end either. */
	use(rig, "http://127.0.0.1:1");
	use(rig, "http://orders:1");
	rig_destroy(rig);
	atomic_store(&names_hang, false);
}

/* --- files ------------------------------------------------------------------------ */

static void write_file(const char *path, const char *text)
{
	FILE *file = fopen(path, "w");

	fputs(text, file);
	fclose(file);
}

static void a_list_in_a_file_is_followed(void **state)
{
	char path[] = "/tmp/upstream_names_XXXXXX", text[64];
	struct rig *rig = rig_create(0);
	struct buf large = { 0 };

	close(mkstemp(path));
	snprintf(text, sizeof(text), "file://%s http://127.0.0.9:1", path);
	write_file(path, "http://127.0.0.1:1\nhttp://127.0.0.2:1\n");
	use(rig, text);
	assert_true(has(rig, "127.0.0.9:1 127.0.0.1:1 127.0.0.2:1 "));
	write_file(path, "http://127.0.0.2:1,http://127.0.0.3:1,http://127.0.0.9:1");
	until(rig, has(rig, "127.0.0.9:1 127.0.0.2:1 127.0.0.3:1 "));

	/* What cannot be used leaves what is known, and is told once. */
	for (int i = 0; i < 7000; i++)
		buf_printf(&large, "http://a:1 ");
	const char *const bad[] = { "", "\n", "http://127.0.0.1:1 nonsense",
				    "file:///etc/hostname", buf_text(&large) };
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		write_file(path, bad[i]);
		until(rig, logged(rig, "upstream up keeps its addresses") == i + 1);
		for (int k = 0; k < 20; k++)
			turn(rig);
		assert_int_equal(logged(rig, "upstream up keeps its addresses"), i + 1);
		assert_true(has(rig, "127.0.0.9:1 127.0.0.2:1 127.0.0.3:1 "));
		write_file(path, "http://127.0.0.4:1");
		until(rig, has(rig, "127.0.0.9:1 127.0.0.4:1 "));
		write_file(path, "http://127.0.0.2:1 http://127.0.0.3:1");
		until(rig, has(rig, "127.0.0.9:1 127.0.0.2:1 127.0.0.3:1 "));
	}
	unlink(path);
	until(rig, logged(rig, "No such file") == 1);
	assert_true(has(rig, "127.0.0.9:1 127.0.0.2:1 127.0.0.3:1 "));

	/* It is no longer wanted. */
	use(rig, "http://127.0.0.9:1");
	assert_true(has(rig, "127.0.0.9:1 "));
	buf_finish(&large);
	rig_destroy(rig);
}

static void names_in_files_are_looked_up(void **state)
{
	char path[] = "/tmp/upstream_names_XXXXXX", text[64];
	struct rig *rig = rig_create(0);

	close(mkstemp(path));
	snprintf(text, sizeof(text), "file://%s", path);
	set_names("127.0.0.1", "127.0.0.2", NULL);
	write_file(path, "http://orders:7");
	use(rig, text);
	until(rig, has(rig, "127.0.0.1:7 127.0.0.2:7 "));
	unlink(path);
	rig_destroy(rig);
}

static void a_file_that_comes_later_is_found(void **state)
{
	char path[] = "/tmp/upstream_names_XXXXXX", text[64];
	struct rig *rig = rig_create(0);

	close(mkstemp(path));
	unlink(path);
	snprintf(text, sizeof(text), "file://%s", path);
	use(rig, text);
	assert_int_equal(look(rig).count, 0);
	assert_non_null(strstr(look(rig).trouble, "No such file"));
	write_file(path, "http://127.0.0.1:1");
	until(rig, has(rig, "127.0.0.1:1 "));
	unlink(path);
	rig_destroy(rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(addresses_are_texts_of_host_and_port),
		cmocka_unit_test(what_is_no_address_is_told),
		cmocka_unit_test(no_more_than_so_many_addresses_are_used),
		cmocka_unit_test(a_name_stands_for_what_it_stands_for_now),
		cmocka_unit_test(a_lookup_that_fails_leaves_what_is_known),
		cmocka_unit_test(a_name_that_answers_late_holds_nobody_up),
		cmocka_unit_test(a_list_in_a_file_is_followed),
		cmocka_unit_test(names_in_files_are_looked_up),
		cmocka_unit_test(a_file_that_comes_later_is_found),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
