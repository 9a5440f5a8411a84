/*
 * The operations of the object model and their refusals.
 */
#include <errno.h>
#include <string.h>

#include "world.h"

#define MEM "{s:s, s:s, s:{s:i}}"
#define MEM_LU(lu) "name", lu, "kind", "mem", "address", "size", 1 << 20

static void add_volume_on_memory(struct world *w)
{
	world_done(w, CTL_LU_ADD, MEM, MEM_LU("m"));
	world_done(w, CTL_VOLUME_CREATE, "{s:s, s:i, s:[{s:s}]}", "name", "v", "size", 65536, "on",
	    "lu", "m");
}

static void interfaces_are_added_changed_listed_and_removed(void **state)
{
	struct world *w = *state;
	json_t *j;

	world_done(w, CTL_INTERFACE_ADD, "{s:s, s:s, s:s, s:s}", "name", "i1", "kind", "iscsi",
	    "network_id", "iqn.a", "policy", "auto");
	j = world_done(w, CTL_INTERFACE_SHOW, "{s:s}", "name", "i1");
	assert_string_equal(text_of(j, "network_id"), "iqn.a");
	assert_string_equal(text_of(j, "policy"), "auto");
	assert_string_equal(text_of(j, "state"), "unused");
	j = world_done(w, CTL_INTERFACE_SET, "{s:s, s:s, s:s}", "name", "i1", "policy", "off",
	    "network_id", "iqn.b");
	assert_string_equal(text_of(j, "network_id"), "iqn.b");
	world_restart(w);
	j = world_done(w, CTL_INTERFACE_LIST, "{}");
	j = json_array_get(json_object_get(j, "interfaces"), 0);
	assert_string_equal(text_of(j, "network_id"), "iqn.b");
	assert_string_equal(text_of(j, "policy"), "off");
	world_done(w, CTL_INTERFACE_REMOVE, "{s:s}", "name", "i1");
	assert_int_equal(world_code(w, CTL_INTERFACE_SHOW, "{s:s}", "name", "i1"), -ENOENT);
	assert_int_equal(world_keys(w, "/interfaces/", NULL, 0), 0);
}

static void interfaces_that_make_no_sense_are_refused(void **state)
{
	struct world *w = *state;

	world_done(w, CTL_INTERFACE_ADD, "{s:s, s:s, s:s}", "name", "i1", "kind", "iscsi",
	    "network_id", "iqn.a");
	assert_int_equal(
	    world_code(w, CTL_INTERFACE_ADD, "{s:s, s:s}", "name", "i1", "kind", "file"), -EEXIST);
	assert_int_equal(
	    world_code(w, CTL_INTERFACE_ADD, "{s:s, s:s}", "name", "x", "kind", "tape"), -EINVAL);
	assert_int_equal(world_code(w, CTL_INTERFACE_ADD, "{s:s, s:s, s:s}", "name", "x", "kind",
			     "file", "network_id", "iqn.x"),
	    -EOPNOTSUPP);
	assert_int_equal(world_code(w, CTL_INTERFACE_ADD, "{s:s, s:s, s:s}", "name", "x", "kind",
			     "iscsi", "network_id", "iqn.a"),
	    -EEXIST);
	assert_int_equal(world_code(w, CTL_INTERFACE_SET, "{s:s}", "name", "x"), -ENOENT);
	assert_int_equal(world_code(w, CTL_INTERFACE_REMOVE, "{s:s}", "name", "x"), -ENOENT);
	assert_int_equal(world_keys(w, "/interfaces/", NULL, 0), 1);
}

static void object_is_busy_until_its_operation_has_ended(void **state)
{
	struct world *w = *state;
	struct answer first;
	struct answer second;

	world_begin(w, &first, CTL_INTERFACE_ADD, "{s:s, s:s}", "name", "f1", "kind", "file");
	world_begin(w, &second, CTL_INTERFACE_REMOVE, "{s:s}", "name", "f1");
	assert_int_equal(second.called, 1);
	assert_int_equal(second.code, -EBUSY);
	world_wait(w, &first);
	assert_int_equal(first.code, 0);
	answer_free(&first);
}

static void interface_with_paths_stays(void **state)
{
	struct world *w = *state;

	world_two_paths(w);
	assert_int_equal(world_code(w, CTL_INTERFACE_REMOVE, "{s:s}", "name", "f1"), -EBUSY);
}

static void lus_are_added_checked_and_removed(void **state)
{
	struct world *w = *state;
	json_t *j;

	j = world_done(w, CTL_LU_ADD, MEM, MEM_LU("m"));
	assert_int_equal(number_of(j, "size"), 1 << 20);
	assert_string_equal(text_of(j, "state"), "up");
	j = world_done(w, CTL_LU_CHECK, "{s:s}", "name", "m");
	assert_true(json_is_true(json_object_get(j, "ok")));
	assert_int_equal(json_array_size(json_object_get(j, "paths")), 1);
	assert_int_equal(world_code(w, CTL_LU_ADD, MEM, MEM_LU("m")), -EEXIST);
	assert_int_equal(
	    world_code(w, CTL_LU_FAULT, "{s:s, s:[]}", "name", "m", "rules"), -EOPNOTSUPP);
	world_done(w, CTL_LU_REMOVE, "{s:s}", "name", "m");
	assert_int_equal(world_code(w, CTL_LU_REMOVE, "{s:s}", "name", "m"), -ENOENT);
	assert_int_equal(world_keys(w, "/lus/", NULL, 0), 0);
	assert_int_equal(world_keys(w, "/paths/", NULL, 0), 0);
}

static void lu_that_cannot_be_opened_is_not_added(void **state)
{
	struct world *w = *state;

	assert_int_equal(world_code(w, CTL_LU_ADD, "{s:s, s:s, s:{s:s}}", "name", "a", "kind",
			     "file", "address", "path", "/nonexistent/file"),
	    -ENOENT);
	assert_int_equal(world_code(w, CTL_LU_SHOW, "{s:s}", "name", "a"), -ENOENT);
	assert_int_equal(
	    world_code(w, CTL_LU_ADD, "{s:s, s:s, s:{}}", "name", "a", "kind", "file", "address"),
	    -EINVAL);
	assert_int_equal(world_code(w, CTL_LU_ADD, "{s:s, s:s, s:{s:s}}", "name", "a", "kind",
			     "nbd", "address", "uri", "nbd://x"),
	    -EINVAL); /* no interface */
	assert_int_equal(world_code(w, CTL_LU_ADD, "{s:s, s:s, s:{s:s}}", "name", "a", "kind",
			     "fault", "address", "lu", "none"),
	    -ENOENT);
	assert_int_equal(world_keys(w, "/lus/", NULL, 0), 0);
}

static void storage_that_is_an_lu_already_is_refused_under_another_name(void **state)
{
	struct world *w = *state;
	char path[128];

	world_file(w, path, "a.img", 1);
	world_done(w, CTL_LU_ADD, "{s:s, s:s, s:{s:s}}", "name", "a", "kind", "file", "address",
	    "path", path);
	assert_int_equal(world_code(w, CTL_LU_ADD, "{s:s, s:s, s:{s:s}}", "name", "b", "kind",
			     "file", "address", "path", path),
	    -EEXIST);
}

static void lu_in_use_stays(void **state)
{
	struct world *w = *state;

	add_volume_on_memory(w);
	world_done(w, CTL_LU_ADD, MEM, MEM_LU("inner"));
	world_done(w, CTL_LU_ADD, "{s:s, s:s, s:{s:s}}", "name", "f", "kind", "fault", "address",
	    "lu", "inner");
	assert_int_equal(world_code(w, CTL_LU_REMOVE, "{s:s}", "name", "m"), -EBUSY);
	assert_int_equal(world_code(w, CTL_LU_REMOVE, "{s:s}", "name", "inner"), -EBUSY);
	world_done(w, CTL_LU_REMOVE, "{s:s}", "name", "f");
	world_done(w, CTL_LU_REMOVE, "{s:s}", "name", "inner");
}

static void paths_are_added_and_removed(void **state)
{
	struct world *w = *state;
	char path[128];
	json_t *j;

	world_two_paths(w);
	world_file(w, path, "a.img", 1);
	j = world_done(w, CTL_PATH_LIST, "{}");
	assert_int_equal(json_array_size(json_object_get(j, "paths")), 2);
	j = world_done(w, CTL_PATH_SHOW, "{s:s, s:s}", "lu", "a", "via", "f2");
	assert_string_equal(text_of(j, "state"), "up");
	assert_int_equal(world_code(w, CTL_PATH_ADD, "{s:s, s:s, s:{s:s}}", "lu", "a", "via", "f2",
			     "address", "path", path),
	    -EEXIST);
	assert_int_equal(
	    world_code(w, CTL_PATH_CONFIRM_DEAD, "{s:s, s:s}", "lu", "a", "via", "f2"), -EBUSY);
	assert_int_equal(
	    world_code(w, CTL_PATH_REMOVE, "{s:s, s:s}", "lu", "a", "via", "f1"), -EBUSY);
	world_done(w, CTL_PATH_REMOVE, "{s:s, s:s}", "lu", "a", "via", "f2");
	assert_int_equal(
	    world_code(w, CTL_PATH_REMOVE, "{s:s, s:s}", "lu", "a", "via", "f2"), -ENOENT);
	world_done(w, CTL_VOLUME_DELETE, "{s:s}", "name", "v");
	assert_int_equal(world_code(w, CTL_PATH_REMOVE, "{s:s, s:s}", "lu", "a", "via", "f1"),
	    -EBUSY); /* the last one */
}

static void path_that_leads_to_another_size_is_refused(void **state)
{
	struct world *w = *state;
	char path[128];

	world_two_paths(w);
	world_done(w, CTL_INTERFACE_ADD, "{s:s, s:s}", "name", "f3", "kind", "file");
	snprintf(path, sizeof(path), "%s/short.img", w->dir);
	assert_int_not_equal(world_code(w, CTL_PATH_ADD, "{s:s, s:s, s:{s:s, s:i}}", "lu", "a",
				 "via", "f3", "address", "path", path, "size", 4096),
	    0);
	assert_int_equal(world_keys(w, "/paths/", NULL, 0), 2);
}

static void volumes_are_created_shown_and_deleted(void **state)
{
	struct world *w = *state;
	json_t *j;

	add_volume_on_memory(w);
	j = world_done(w, CTL_VOLUME_SHOW, "{s:s}", "name", "v");
	assert_int_equal(number_of(j, "size"), 65536);
	assert_int_equal(number_of(j, "generation"), 1);
	j = world_done(w, CTL_VOLUME_MAP, "{s:s}", "name", "v");
	j = json_array_get(json_object_get(j, "extents"), 0);
	assert_int_equal(number_of(j, "length"), 65536);
	assert_string_equal(text_of(json_object_get(j, "read"), "lu"), "m");
	world_done(w, CTL_VOLUME_DELETE, "{s:s}", "name", "v");
	assert_int_equal(world_code(w, CTL_VOLUME_MAP, "{s:s}", "name", "v"), -ENOENT);
	assert_int_equal(world_keys(w, "/volumes/", NULL, 0), 0);
	assert_int_equal(world_keys(w, "/generations/", NULL, 0), 0);
	world_done(w, CTL_LU_REMOVE, "{s:s}", "name", "m");
}

static void volumes_that_make_no_sense_are_refused(void **state)
{
	struct world *w = *state;

	add_volume_on_memory(w);
#define CREATE(name_, size_, lu_, offset_)                                                         \
	world_code(w, CTL_VOLUME_CREATE, "{s:s, s:I, s:[{s:s, s:I}]}", "name", name_, "size",      \
	    (json_int_t)(size_), "on", "lu", lu_, "offset", (json_int_t)(offset_))
	assert_int_equal(CREATE("v", 4096, "m", 1 << 19), -EEXIST);
	assert_int_equal(CREATE("x", 4096, "none", 0), -ENOENT);
	assert_int_equal(CREATE("x", 4096, "m", 0), -EBUSY); /* v is there */
	assert_int_equal(CREATE("x", 4096, "m", 1 << 20), -EINVAL);
	assert_int_equal(CREATE("x", 4096, "m", -4096), -EINVAL);
	assert_int_equal(CREATE("x", 1 << 30, "m", 1 << 19), -ENOSPC);
	assert_int_equal(CREATE("x", INT64_MAX, "m", 1 << 19), -ENOSPC);
	assert_int_equal(CREATE("x", 1000, "m", 1 << 19), -EINVAL);
	assert_int_equal(
	    world_code(w, CTL_VOLUME_CREATE, "{s:s, s:[]}", "name", "x", "on"), -EINVAL);
	assert_int_equal(world_code(w, CTL_VOLUME_CREATE, "{s:s, s:[{s:s}], s:s}", "name", "x",
			     "on", "lu", "m", "via", "none"),
	    -ENOENT);
	assert_int_equal(world_keys(w, "/volumes/", NULL, 0), 1);
}

static void volume_does_not_map_one_place_twice(void **state)
{
	struct world *w = *state;

	world_done(w, CTL_LU_ADD, MEM, MEM_LU("m"));
	assert_int_equal(world_code(w, CTL_VOLUME_CREATE, "{s:s, s:i, s:[{s:s}, {s:s}]}", "name",
			     "v", "size", 2 << 20, "on", "lu", "m", "lu", "m"),
	    -EBUSY);
}

static void exports_are_added_shown_and_removed(void **state)
{
	struct world *w = *state;
	char address[128];
	json_t *j;

	add_volume_on_memory(w);
	snprintf(address, sizeof(address), "unix:%s/nbd.sock", w->dir);
	world_done(w, CTL_CLIENT_ADD, "{s:s}", "name", "c");
	j = world_done(w, CTL_EXPORT_ADD, "{s:s, s:s, s:s, s:b}", "volume", "v", "nbd", address,
	    "client", "c", "read_only", 1);
	assert_int_equal(number_of(j, "id"), 1);
	assert_string_equal(text_of(j, "state"), "serving");
	assert_string_equal(text_of(j, "name"), "v");
	assert_int_not_equal(
	    world_code(w, CTL_EXPORT_ADD, "{s:s, s:s}", "volume", "v", "nbd", address), 0);
	world_done(
	    w, CTL_EXPORT_ADD, "{s:s, s:s, s:s}", "volume", "v", "nbd", address, "name", "second");
	assert_int_equal(world_code(w, CTL_CLIENT_REMOVE, "{s:s}", "name", "c"), -EBUSY);
	assert_int_equal(world_code(w, CTL_VOLUME_DELETE, "{s:s}", "name", "v"), -EBUSY);
	world_restart(w);
	j = world_done(w, CTL_EXPORT_SHOW, "{s:i}", "id", 1);
	assert_string_equal(text_of(j, "client"), "c");
	assert_true(json_is_true(json_object_get(j, "read_only")));
	world_done(w, CTL_EXPORT_REMOVE, "{s:i}", "id", 1);
	assert_int_equal(world_code(w, CTL_EXPORT_SHOW, "{s:i}", "id", 1), -ENOENT);
	world_done(w, CTL_CLIENT_REMOVE, "{s:s}", "name", "c");
	assert_int_equal(world_keys(w, "/exports/", NULL, 0), 1);
}

static void exports_that_make_no_sense_are_refused(void **state)
{
	struct world *w = *state;

	add_volume_on_memory(w);
#define EXPORT(volume_, nbd_, client_)                                                             \
	world_code(w, CTL_EXPORT_ADD, "{s:s, s:s, s:s}", "volume", volume_, "nbd", nbd_, "client", \
	    client_)
	assert_int_equal(EXPORT("none", "unix:/tmp/x", "c"), -ENOENT);
	assert_int_equal(EXPORT("v", "unix:/tmp/x", "none"), -ENOENT);
	world_done(w, CTL_CLIENT_ADD, "{s:s}", "name", "c");
	assert_int_not_equal(EXPORT("v", "unix:/nonexistent/dir/x", "c"), 0);
	assert_int_not_equal(EXPORT("v", "tcp:0.0.0.0:10809", "c"), 0);
	assert_int_equal(world_keys(w, "/exports/", NULL, 0), 0);
	assert_true(list_empty(&w->ctl->exports));
}

static void client_that_is_being_removed_gets_no_export(void **state)
{
	struct world *w = *state;
	struct answer removal;
	char address[128];

	add_volume_on_memory(w);
	snprintf(address, sizeof(address), "unix:%s/nbd.sock", w->dir);
	world_done(w, CTL_CLIENT_ADD, "{s:s}", "name", "c");
	world_begin(w, &removal, CTL_CLIENT_REMOVE, "{s:s}", "name", "c");
	assert_int_equal(EXPORT("v", address, "c"), -EBUSY);
	world_wait(w, &removal);
	assert_int_equal(removal.code, 0);
	answer_free(&removal);
}

static void implicit_interface_that_is_being_removed_gets_no_path(void **state)
{
	struct world *w = *state;
	struct answer removal;

	world_done(w, CTL_INTERFACE_ADD, "{s:s, s:s}", "name", "mem", "kind", "mem");
	world_begin(w, &removal, CTL_INTERFACE_REMOVE, "{s:s}", "name", "mem");
	assert_int_equal(world_code(w, CTL_LU_ADD, MEM, MEM_LU("m")), -EBUSY);
	world_wait(w, &removal);
	assert_int_equal(removal.code, 0);
	answer_free(&removal);
}

static void clients_are_added_listed_and_removed(void **state)
{
	struct world *w = *state;
	json_t *j;

	world_done(w, CTL_CLIENT_ADD, "{s:s}", "name", "c");
	assert_int_equal(world_code(w, CTL_CLIENT_ADD, "{s:s}", "name", "c"), -EEXIST);
	world_restart(w);
	j = world_done(w, CTL_CLIENT_LIST, "{}");
	assert_int_equal(json_array_size(json_object_get(j, "clients")), 1);
	world_done(w, CTL_CLIENT_SHOW, "{s:s}", "name", "c");
	world_done(w, CTL_CLIENT_REMOVE, "{s:s}", "name", "c");
	assert_int_equal(world_code(w, CTL_CLIENT_SHOW, "{s:s}", "name", "c"), -ENOENT);
}

static void status_and_nodes_show_the_whole(void **state)
{
	struct world *w = *state;
	json_t *j;

	world_two_paths(w);
	assert_string_equal(text_of(world_done(w, CTL_HEALTH, "{}"), "status"), "ok");
	j = world_done(w, CTL_STATUS, "{}");
	assert_int_equal(json_array_size(json_object_get(j, "volumes")), 1);
	assert_int_equal(json_array_size(json_object_get(j, "interfaces")), 2);
	assert_int_equal(json_array_size(json_object_get(j, "lus")), 1);
	j = world_done(w, CTL_NODE_SHOW, "{s:s}", "name", "n1");
	assert_string_equal(text_of(j, "state"), "serving");
	assert_int_equal(world_code(w, CTL_NODE_SHOW, "{s:s}", "name", "n2"), -ENOENT);
	j = world_done(w, CTL_NODE_LIST, "{}");
	assert_int_equal(json_array_size(json_object_get(j, "nodes")), 1);
}

/* Every sample has its HELP and TYPE before it, and the form NAME{LABELS} NUMBER. */
static void metrics_are_prometheus_text(void **state)
{
	struct world *w = *state;
	char *text;
	char *rest = NULL;
	char current[128] = "";
	unsigned samples = 0;

	world_two_paths(w);
	text = strdup(json_string_value(world_done(w, CTL_METRICS, "{}")));
	for (char *line = strtok_r(text, "\n", &rest); line != NULL;
	     line = strtok_r(NULL, "\n", &rest)) {
		char name[128];
		char *end;

		if (sscanf(line, "# HELP %127s", name) == 1) {
			snprintf(current, sizeof(current), "%s", name);
			line = strtok_r(NULL, "\n", &rest);
			assert_int_equal(sscanf(line, "# TYPE %127s", name), 1);
			assert_string_equal(name, current);
			continue;
		}
		end = line + strcspn(line, "{ ");
		assert_int_equal((size_t)(end - line), strlen(current));
		assert_memory_equal(line, current, strlen(current));
		end = *end == '{' ? strchr(end, '}') + 1 : end;
		assert_int_equal(*end, ' ');
		strtod(end + 1, &end);
		assert_int_equal(*end, '\0');
		samples++;
	}
	assert_true(samples > 10);
	free(text);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, world_setup, world_teardown)
	const struct CMUnitTest tests[] = {
	    TEST(interfaces_are_added_changed_listed_and_removed),
	    TEST(interfaces_that_make_no_sense_are_refused),
	    TEST(object_is_busy_until_its_operation_has_ended),
	    TEST(interface_with_paths_stays),
	    TEST(lus_are_added_checked_and_removed),
	    TEST(lu_that_cannot_be_opened_is_not_added),
	    TEST(storage_that_is_an_lu_already_is_refused_under_another_name),
	    TEST(lu_in_use_stays),
	    TEST(paths_are_added_and_removed),
	    TEST(path_that_leads_to_another_size_is_refused),
	    TEST(volumes_are_created_shown_and_deleted),
	    TEST(volumes_that_make_no_sense_are_refused),
	    TEST(volume_does_not_map_one_place_twice),
	    TEST(exports_are_added_shown_and_removed),
	    TEST(exports_that_make_no_sense_are_refused),
	    TEST(client_that_is_being_removed_gets_no_export),
	    TEST(implicit_interface_that_is_being_removed_gets_no_path),
	    TEST(clients_are_added_listed_and_removed),
	    TEST(status_and_nodes_show_the_whole),
	    TEST(metrics_are_prometheus_text),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
