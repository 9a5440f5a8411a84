/*
 * What the control plane makes of a store that fails, and of one with odd contents; and of an end
 * while something is under way.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "world.h"

#define MEM "{s:s, s:s, s:{s:i}}"
#define MEM_LU(lu) "name", lu, "kind", "mem", "address", "size", 1 << 20

/* Everything that the store holds of objects is there, and the other way round. */
static void assert_store_agrees(struct world *w)
{
	size_t interfaces = 0;
	size_t volumes = 0;
	size_t exports = 0;
	size_t clients = 0;
	size_t lus = 0;
	size_t paths = 0;

	list_for_each (link, &w->ctl->interfaces) {
		assert_false(list_entry(link, struct ctl_interface, link)->busy);
		interfaces++;
	}
	list_for_each (lu_link, &w->ctl->lus) {
		const struct ctl_lu *lu = list_entry(lu_link, struct ctl_lu, link);

		assert_false(lu->busy);
		lus++;
		list_for_each (link, &lu->paths) {
			assert_false(list_entry(link, struct ctl_path, link)->busy);
			paths++;
		}
	}
	list_for_each (link, &w->ctl->volumes) {
		const struct ctl_volume *v = list_entry(link, struct ctl_volume, link);

		assert_false(v->busy || v->change != NULL);
		volumes++;
	}
	list_for_each (link, &w->ctl->exports) {
		assert_false(list_entry(link, struct ctl_export, link)->busy);
		exports++;
	}
	list_for_each (link, &w->ctl->clients) {
		assert_false(list_entry(link, struct ctl_client, link)->busy);
		clients++;
	}
	assert_int_equal(world_keys(w, "/interfaces/", NULL, 0), interfaces);
	assert_int_equal(world_keys(w, "/lus/", NULL, 0), lus);
	assert_int_equal(world_keys(w, "/paths/", NULL, 0), paths);
	assert_int_equal(world_keys(w, "/volumes/", NULL, 0), volumes);
	assert_int_equal(world_keys(w, "/generations/", NULL, 0), volumes);
	assert_int_equal(world_keys(w, "/exports/", NULL, 0), exports);
	assert_int_equal(world_keys(w, "/clients/", NULL, 0), clients);
	assert_int_equal(w->ctl->nr_requests, 0);
}

static void make_and_remove_everything(struct world *w)
{
	char address[128];
	char path[128];

	world_file(w, path, "a.img", 1);
	snprintf(address, sizeof(address), "unix:%s/nbd.sock", w->dir);
	world_code(w, CTL_INTERFACE_ADD, "{s:s, s:s}", "name", "f1", "kind", "file");
	world_code(w, CTL_INTERFACE_SET, "{s:s, s:s}", "name", "f1", "policy", "off");
	world_code(w, CTL_LU_ADD, "{s:s, s:s, s:{s:s}}", "name", "a", "kind", "file", "address",
	    "path", path);
	world_code(w, CTL_PATH_ADD, "{s:s, s:s, s:{s:s}}", "lu", "a", "via", "f1", "address",
	    "path", path);
	world_code(w, CTL_VOLUME_CREATE, "{s:s, s:[{s:s}], s:s}", "name", "v", "on", "lu", "a",
	    "via", "local");
	world_code(w, CTL_CLIENT_ADD, "{s:s}", "name", "c");
	world_code(
	    w, CTL_EXPORT_ADD, "{s:s, s:s, s:s}", "volume", "v", "nbd", address, "client", "c");
	world_code(
	    w, CTL_VOLUME_SWITCH_PATH, "{s:s, s:s, s:s}", "name", "v", "from", "local", "to", "f1");
	assert_store_agrees(w);
	world_code(w, CTL_EXPORT_REMOVE, "{s:I}", "id", (json_int_t)w->ctl->last_export_id);
	world_code(w, CTL_CLIENT_REMOVE, "{s:s}", "name", "c");
	world_code(w, CTL_VOLUME_DELETE, "{s:s}", "name", "v");
	world_code(w, CTL_PATH_REMOVE, "{s:s, s:s}", "lu", "a", "via", "f1");
	world_code(w, CTL_LU_REMOVE, "{s:s}", "name", "a");
	world_code(w, CTL_INTERFACE_REMOVE, "{s:s}", "name", "f1");
	world_code(w, CTL_INTERFACE_REMOVE, "{s:s}", "name", "local");
}

static void clear_away(struct world *w)
{
	world_fail_at(w, 0);
	for (int id = 1; id < 100; id++) {
		world_code(w, CTL_EXPORT_REMOVE, "{s:i}", "id", id);
	}
	world_code(w, CTL_CLIENT_REMOVE, "{s:s}", "name", "c");
	world_code(w, CTL_VOLUME_DELETE, "{s:s}", "name", "v");
	world_code(w, CTL_LU_REMOVE, "{s:s}", "name", "a");
	world_code(w, CTL_INTERFACE_REMOVE, "{s:s}", "name", "f1");
	world_code(w, CTL_INTERFACE_REMOVE, "{s:s}", "name", "local");
	assert_true(list_empty(&w->ctl->interfaces));
	assert_true(list_empty(&w->ctl->lus));
	assert_true(list_empty(&w->ctl->volumes));
	assert_true(list_empty(&w->ctl->clients));
}

static void nothing_half_made_stays_when_any_transaction_fails(void **state)
{
	struct world *w = *state;
	unsigned n = 0;
	bool failed;

	do {
		world_fail_at(w, ++n);
		make_and_remove_everything(w);
		failed = w->failed;
		assert_store_agrees(w);
		world_fail_at(w, 0);
		world_restart(w); /* tidies up what the end of a change could not */
		assert_store_agrees(w);
		assert_int_equal(world_keys(w, "/change/", NULL, 0), 0);
		clear_away(w);
	} while (failed);
	assert_true(n > 15); /* it did go through the operations above */
}

static void damaged_records_are_said_and_do_not_stop_the_rest(void **state)
{
	static const char *const bad[][2] = {
	    {"/interfaces/x", "{"},
	    {"/interfaces/y", "[]"},
	    {"/interfaces/z", "{\"name\":\"other\",\"kind\":\"file\",\"network_id\":\"\","
			      "\"bind\":\"\",\"policy\":\"ask\"}"},
	    {"/interfaces/tape", "{\"name\":\"tape\",\"kind\":\"tape\",\"network_id\":\"\","
				 "\"bind\":\"\",\"policy\":\"ask\"}"},
	    {"/lus/x", "{\"name\":\"x\",\"uuid\":7}"},
	    {"/lus/null", "null"},
	    {"/lus/loop", "{\"name\":\"loop\",\"uuid\":\"u\",\"kind\":\"fault\",\"size\":4096,"
			  "\"identity\":\"\",\"inner\":\"loop\"}"},
	    {"/lus/f", "{\"name\":\"f\",\"uuid\":\"u\",\"kind\":\"fault\",\"size\":4096,"
		       "\"identity\":\"\"}"},
	    {"/paths/a/none", "{\"lu\":\"a\",\"via\":\"none\",\"address\":{}}"},
	    {"/paths/a/odd", "{\"lu\":\"a\",\"via\":\"f1\",\"address\":7}"},
	    {"/volumes/x", "{\"name\":\"x\",\"uuid\":\"\",\"size\":-1,\"extents\":[],\"via\":{}}"},
	    {"/volumes/y", "{\"name\":\"y\",\"uuid\":\"\",\"size\":512,\"extents\":7,\"via\":{}}"},
	    {"/volumes/z", "{\"name\":\"z\",\"uuid\":\"\",\"size\":512,\"extents\":[{\"offset\":"
			   "9223372036854775807,\"length\":9223372036854775807,\"lu\":\"a\","
			   "\"lu_offset\":9223372036854775807}],\"via\":null}"},
	    {"/clients/x", "7"},
	    {"/changes/00000000000000000001", "{\"id\":\"one\"}"},
	    {"/exports/00000000000000000009", "nonsense"},
	};
	struct world *w = *state;
	unsigned before;

	world_two_paths(w);
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		world_put(w, bad[i][0], bad[i][1]);
	}
	world_put(w, "/generations/none", "7");
	world_put(w, "/events/nonsense", "[1]");
	world_put(w, "/unknown", "");
	before = world_events(w, "store.record");
	world_restart(w);
	assert_int_equal(world_events(w, "store.record") - before, ARRAY_SIZE(bad));
	world_done(w, CTL_VOLUME_SHOW, "{s:s}", "name", "v");
	assert_int_equal(world_code(w, CTL_VOLUME_SHOW, "{s:s}", "name", "z"), -ENOENT);
	assert_int_equal(
	    world_code(w, CTL_INTERFACE_ADD, "{s:s, s:s}", "name", "other", "kind", "file"), 0);
}

static void lu_whose_paths_are_lost_is_there_and_refuses(void **state)
{
	struct world *w = *state;
	json_t *j;

	world_done(w, CTL_LU_ADD, MEM, MEM_LU("m"));
	world_done(w, CTL_LU_ADD, "{s:s, s:s, s:{s:s}}", "name", "f", "kind", "fault", "address",
	    "lu", "m");
	world_put(w, "/paths/f/fault", "gone");
	world_restart(w);
	assert_int_equal(
	    world_code(w, CTL_LU_FAULT, "{s:s, s:[]}", "name", "f", "rules"), -ENOTCONN);
	j = world_done(w, CTL_LU_CHECK, "{s:s}", "name", "f");
	assert_true(json_is_false(json_object_get(j, "ok")));
}

static void wrapper_of_a_wrapper_survives_a_restart(void **state)
{
	struct world *w = *state;
	json_t *j;

	world_done(w, CTL_LU_ADD, MEM, MEM_LU("c"));
	world_done(w, CTL_LU_ADD, "{s:s, s:s, s:{s:s}}", "name", "b", "kind", "fault", "address",
	    "lu", "c");
	world_done(w, CTL_LU_ADD, "{s:s, s:s, s:{s:s}}", "name", "a", "kind", "fault", "address",
	    "lu", "b");
	world_restart(w);
	j = world_done(w, CTL_LU_SHOW, "{s:s}", "name", "a");
	assert_string_equal(text_of(j, "wraps"), "b");
}

static void export_that_cannot_be_opened_at_load_says_why(void **state)
{
	struct world *w = *state;
	json_t *j;

	world_two_paths(w);
	world_put(w, "/exports/00000000000000000007",
	    "{\"id\":7,\"volume\":\"v\",\"nbd\":\"unix:/nonexistent/dir/sock\",\"name\":\"e\","
	    "\"client\":null,\"read_only\":false}");
	world_restart(w);
	j = world_done(w, CTL_EXPORT_SHOW, "{s:i}", "id", 7);
	assert_string_equal(text_of(j, "state"), "down");
	assert_true(text_of(j, "reason")[0] != '\0');
	assert_int_equal(world_events(w, "export.down"), 1);
	world_done(w, CTL_EXPORT_REMOVE, "{s:i}", "id", 7);
}

static void every_request_is_answered_when_the_control_plane_ends(void **state)
{
	struct world *w = *state;
	struct answer answers[8];
	struct answer late;
	char path[128];
	unsigned n = 0;
	unsigned closed = 0;

	world_two_paths(w);
	world_file(w, path, "b.img", 9);
	world_begin(w, &answers[n++], CTL_INTERFACE_ADD, "{s:s, s:s}", "name", "x", "kind", "nbd");
	world_begin(w, &answers[n++], CTL_CLIENT_ADD, "{s:s}", "name", "c");
	world_begin(w, &answers[n++], CTL_LU_ADD, "{s:s, s:s, s:{s:s}}", "name", "b", "kind",
	    "file", "address", "path", path);
	world_begin(w, &answers[n++], CTL_LU_CHECK, "{s:s}", "name", "a");
	world_begin(w, &answers[n++], CTL_VOLUME_SWITCH_PATH, "{s:s, s:s, s:s}", "name", "v",
	    "from", "f1", "to", "f2");
	world_step(w);
	world_begin(w, &answers[n++], CTL_PATH_REMOVE, "{s:s, s:s}", "lu", "a", "via", "f1");
	ctl_close(w->ctl, world_flag, &closed);
	world_begin(w, &late, CTL_CLIENT_ADD, "{s:s}", "name", "late");
	assert_int_equal(late.code, -EAGAIN);
	world_until(w, &closed);
	for (unsigned i = 0; i < n; i++) {
		assert_int_equal(answers[i].called, 1);
		answer_free(&answers[i]);
	}
	world_open(w);
	assert_store_agrees(w);
}

static void path_that_never_comes_up_does_not_delay_the_end(void **state)
{
	struct world *w = *state;
	struct answer a;
	unsigned closed = 0;

	/* A port that nobody listens on: refused, and tried again and again. */
	world_done(w, CTL_INTERFACE_ADD, "{s:s, s:s}", "name", "n", "kind", "nbd");
	world_begin(w, &a, CTL_LU_ADD, "{s:s, s:s, s:s, s:{s:s}}", "name", "b", "kind", "nbd",
	    "via", "n", "address", "uri", "nbd+unix:///?socket=/nonexistent/sock");
	ctl_close(w->ctl, world_flag, &closed);
	world_until(w, &closed);
	assert_int_equal(a.called, 1);
	assert_int_not_equal(a.code, 0);
	world_open(w);
	assert_store_agrees(w);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, world_setup, world_teardown)
	const struct CMUnitTest tests[] = {
	    TEST(nothing_half_made_stays_when_any_transaction_fails),
	    TEST(damaged_records_are_said_and_do_not_stop_the_rest),
	    TEST(lu_whose_paths_are_lost_is_there_and_refuses),
	    TEST(wrapper_of_a_wrapper_survives_a_restart),
	    TEST(export_that_cannot_be_opened_at_load_says_why),
	    TEST(every_request_is_answered_when_the_control_plane_ends),
	    TEST(path_that_never_comes_up_does_not_delay_the_end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
