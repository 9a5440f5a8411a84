/*
 * Changes of path from the request to the end, and what a start makes of those that a daemon before
 * it left behind.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "world.h"

#define SWITCH "{s:s, s:s, s:s, s:b, s:i}"
#define SWITCH_TO(to_, wait_, ms_)                                                                 \
	"name", "v", "from", "f1", "to", to_, "wait", wait_, "deadline_ms", ms_

static void assert_at_rest(struct world *w, const char *via, const char *generation)
{
	char text[32];
	json_t *j = world_done(w, CTL_VOLUME_SHOW, "{s:s}", "name", "v");

	assert_string_equal(text_of(j, "via"), via);
	assert_true(json_is_null(json_object_get(j, "change")));
	assert_int_equal(number_of(j, "held_requests"), 0);
	assert_int_equal(world_keys(w, "/generations/v", text, sizeof(text)), 1);
	assert_string_equal(text, generation);
	j = world_done(w, CTL_VOLUME_SHOW, "{s:s}", "name", "v");
	snprintf(text, sizeof(text), "%lld", (long long)number_of(j, "generation"));
	assert_string_equal(text, generation);
	assert_int_equal(world_keys(w, "/change/", NULL, 0), 0);
}

static void volume_moves_and_is_there_after_a_restart(void **state)
{
	struct world *w = *state;
	json_t *j;

	world_two_paths(w);
	j = world_done(w, CTL_VOLUME_SWITCH_PATH, SWITCH, SWITCH_TO("f2", 1, 2000));
	assert_string_equal(text_of(j, "state"), "done");
	assert_int_equal(number_of(j, "generation"), 2);
	assert_at_rest(w, "f2", "2");
	world_restart(w);
	assert_at_rest(w, "f2", "2");
	assert_int_equal(world_events(w, "change.done"), 1);
	j = world_done(w, CTL_CHANGE_SHOW, "{s:i}", "id", 1);
	assert_string_equal(text_of(j, "state"), "done");
	assert_int_equal(world_code(w, CTL_CHANGE_CANCEL, "{s:i}", "id", 1), -EALREADY);
	assert_int_equal(world_code(w, CTL_CHANGE_CANCEL, "{s:i}", "id", 2), -ENOENT);
	j = world_done(w, CTL_CHANGE_LIST, "{s:s}", "volume", "none");
	assert_int_equal(json_array_size(json_object_get(j, "changes")), 0);
}

static void change_that_makes_no_sense_is_refused(void **state)
{
	struct world *w = *state;

	world_two_paths(w);
	world_done(w, CTL_INTERFACE_ADD, "{s:s, s:s}", "name", "f3", "kind", "file");
#define REFUSED(from_, to_, take_, ms_)                                                            \
	world_code(w, CTL_VOLUME_SWITCH_PATH, "{s:s, s:s, s:s, s:b, s:I}", "name", "v", "from",    \
	    from_, "to", to_, "take_network_id", take_, "deadline_ms", (json_int_t)(ms_))
	assert_int_equal(REFUSED("f1", "f1", 0, 0), -EINVAL);
	assert_int_equal(REFUSED("f2", "f1", 0, 0), -EINVAL); /* not used */
	assert_int_equal(REFUSED("f1", "f3", 0, 0), -EINVAL); /* no path */
	assert_int_equal(REFUSED("f1", "none", 0, 0), -ENOENT);
	assert_int_equal(REFUSED("f1", "f2", 1, 0), -EOPNOTSUPP);
	assert_int_equal(REFUSED("f1", "f2", 0, 1), -EINVAL);
	assert_int_equal(REFUSED("f1", "f2", 0, INT64_MAX), -EINVAL);
	assert_int_equal(REFUSED("f1", "f2", 0, 18446744073710), -EINVAL); /* wraps to 448 ns */
	assert_int_equal(world_code(w, CTL_VOLUME_SWITCH_PATH, "{s:s, s:s, s:s}", "name", "none",
			     "from", "f1", "to", "f2"),
	    -ENOENT);
	assert_at_rest(w, "f1", "1");
	assert_int_equal(w->ctl->nr_changes, 0);
}

static void path_of_a_change_in_progress_stays(void **state)
{
	struct world *w = *state;
	struct answer change;

	world_two_paths(w);
	world_begin(w, &change, CTL_VOLUME_SWITCH_PATH, SWITCH, SWITCH_TO("f2", 1, 2000));
	assert_int_equal(
	    world_code(w, CTL_PATH_REMOVE, "{s:s, s:s}", "lu", "a", "via", "f2"), -EBUSY);
	world_wait(w, &change);
	assert_int_equal(change.code, 0);
	assert_string_equal(text_of(change.result, "state"), "done");
	answer_free(&change);
}

static void path_that_is_being_removed_is_no_destination(void **state)
{
	struct world *w = *state;
	struct answer removal;

	world_two_paths(w);
	world_begin(w, &removal, CTL_PATH_REMOVE, "{s:s, s:s}", "lu", "a", "via", "f2");
	assert_int_equal(
	    world_code(w, CTL_VOLUME_SWITCH_PATH, SWITCH, SWITCH_TO("f2", 1, 2000)), -EBUSY);
	world_wait(w, &removal);
	assert_int_equal(removal.code, 0);
	answer_free(&removal);
}

static void one_change_at_a_time_on_a_volume(void **state)
{
	struct world *w = *state;
	struct answer first;

	world_two_paths(w);
	world_begin(w, &first, CTL_VOLUME_SWITCH_PATH, SWITCH, SWITCH_TO("f2", 1, 2000));
	assert_int_equal(
	    world_code(w, CTL_VOLUME_SWITCH_PATH, SWITCH, SWITCH_TO("f2", 1, 2000)), -EBUSY);
	assert_int_equal(world_code(w, CTL_VOLUME_DELETE, "{s:s}", "name", "v"), -EBUSY);
	world_wait(w, &first);
	assert_string_equal(text_of(first.result, "state"), "done");
	answer_free(&first);
}

static void cancelled_change_leaves_the_volume_where_it_is(void **state)
{
	struct world *w = *state;
	struct answer change;
	struct answer cancel;

	world_two_paths(w);
	world_begin(w, &change, CTL_VOLUME_SWITCH_PATH, SWITCH, SWITCH_TO("f2", 1, 2000));
	world_begin(w, &cancel, CTL_CHANGE_CANCEL, "{s:i}", "id", 1);
	world_wait(w, &change);
	assert_int_equal(cancel.code, 0);
	assert_string_equal(text_of(change.result, "state"), "aborted");
	answer_free(&change);
	answer_free(&cancel);
	assert_at_rest(w, "f1", "1");
	assert_int_equal(world_events(w, "change.aborted"), 1);
}

/* LU f, of kind fault over memory, through f1 and f2; volume v on it through f1. */
static void two_fault_paths(struct world *w)
{
	world_done(w, CTL_LU_ADD, "{s:s, s:s, s:{s:i}}", "name", "m", "kind", "mem", "address",
	    "size", 1 << 20);
	world_done(w, CTL_INTERFACE_ADD, "{s:s, s:s}", "name", "f1", "kind", "fault");
	world_done(w, CTL_INTERFACE_ADD, "{s:s, s:s}", "name", "f2", "kind", "fault");
	world_done(w, CTL_LU_ADD, "{s:s, s:s, s:s, s:{s:s}}", "name", "f", "kind", "fault", "via",
	    "f1", "address", "lu", "m");
	world_done(w, CTL_PATH_ADD, "{s:s, s:s, s:s, s:{s:s}}", "lu", "f", "kind", "fault", "via",
	    "f2", "address", "lu", "m");
	world_done(w, CTL_VOLUME_CREATE, "{s:s, s:[{s:s}], s:s}", "name", "v", "on", "lu", "f",
	    "via", "f1");
}

static void rule_on_destination(struct world *w, const char *action)
{
	struct ctl_lu *lu = ctl_find_lu(w->ctl, "f");
	struct ctl_path *p = ctl_find_path(lu, ctl_find_interface(w->ctl, "f2"));
	json_t *rules = json_pack("{s:[{s:s, s:[s]}]}", "rules", "action", action, "ops", "read");
	struct error err = {0};

	if (lu_path_control(p->path, rules, &err) != 0) {
		fail_msg("%s", err.message);
	}
	json_decref(rules);
}

static void destination_that_reads_other_data_is_refused(void **state)
{
	struct world *w = *state;
	json_t *j;

	two_fault_paths(w);
	rule_on_destination(w, "corrupt");
	j = world_done(w, CTL_VOLUME_SWITCH_PATH, SWITCH, SWITCH_TO("f2", 1, 2000));
	assert_string_equal(text_of(j, "state"), "aborted");
	assert_non_null(strstr(text_of(j, "reason"), "other data"));
	assert_at_rest(w, "f1", "1");
}

static void destination_that_does_not_answer_is_left(void **state)
{
	struct world *w = *state;
	json_t *j;

	two_fault_paths(w);
	rule_on_destination(w, "drop");
	j = world_done(w, CTL_VOLUME_SWITCH_PATH, SWITCH, SWITCH_TO("f2", 1, 500));
	assert_string_not_equal(text_of(j, "state"), "done");
	j = world_done(w, CTL_VOLUME_SHOW, "{s:s}", "name", "v");
	assert_string_equal(text_of(j, "via"), "f1");
	assert_int_equal(world_keys(w, "/change/", NULL, 0), 0);
}

/* -- left behind -- */

#define DESCRIPTION(state_)                                                                        \
	"{\"id\":7,\"kind\":\"switch-path\",\"volume\":\"v\",\"state\":\"" state_                  \
	"\",\"from\":\"f1\",\"to\":\"f2\",\"take_network_id\":false}"
#define RECORD "/change/00000000000000000007/"

static void unfinished_change_that_was_prepared_is_aborted(void **state)
{
	struct world *w = *state;
	json_t *j;

	world_two_paths(w);
	world_put(w, "/changes/00000000000000000007", DESCRIPTION("prepared"));
	world_put(w, RECORD "epoch", "65536");
	world_put(w, RECORD "state", "prepared");
	world_restart(w);
	assert_at_rest(w, "f1", "1");
	j = world_done(w, CTL_CHANGE_SHOW, "{s:i}", "id", 7);
	assert_string_equal(text_of(j, "state"), "aborted");
	j = world_done(w, CTL_VOLUME_SWITCH_PATH, SWITCH, SWITCH_TO("f2", 1, 2000));
	assert_int_equal(number_of(j, "id"), 8);
}

static void unfinished_change_that_was_committed_is_done(void **state)
{
	struct world *w = *state;
	char volume[2048];
	char *via;
	json_t *j;

	world_two_paths(w);
	assert_int_equal(world_keys(w, "/volumes/v", volume, sizeof(volume)), 1);
	via = strstr(volume, "\"f1\"");
	assert_non_null(via);
	via[2] = '2';
	world_put(w, "/volumes/v", volume);
	world_put(w, "/generations/v", "2");
	world_put(w, "/changes/00000000000000000007", DESCRIPTION("committed"));
	world_put(w, RECORD "epoch", "65536");
	world_put(w, RECORD "state", "committed");
	world_restart(w);
	assert_at_rest(w, "f2", "2");
	j = world_done(w, CTL_CHANGE_SHOW, "{s:i}", "id", 7);
	assert_string_equal(text_of(j, "state"), "done");
}

static void change_that_ended_but_was_not_tidied_up_is(void **state)
{
	struct world *w = *state;

	world_two_paths(w);
	world_put(w, "/changes/00000000000000000007", DESCRIPTION("aborted"));
	world_put(w, RECORD "epoch", "65536");
	world_put(w, RECORD "state", "aborted");
	world_restart(w);
	assert_at_rest(w, "f1", "1");
}

static void change_that_names_what_is_not_there_is_said_and_removed(void **state)
{
	struct world *w = *state;

	world_two_paths(w);
	world_put(w, RECORD "epoch", "65536");
	world_put(w, RECORD "state", "prepared");
	world_put(w, "/change/00000000000000000008/state", "odd");
	world_restart(w);
	assert_true(world_events(w, "store.record") > 0);
	assert_at_rest(w, "f1", "1");
}

/* -- where to go -- */

static void candidates_are_those_that_reach_the_lu(void **state)
{
	struct world *w = *state;
	json_t *list;

	world_two_paths(w);
	world_done(w, CTL_INTERFACE_ADD, "{s:s, s:s}", "name", "f3", "kind", "file");
	list = json_object_get(
	    world_done(w, CTL_VOLUME_CANDIDATES, "{s:s, s:s}", "name", "v", "from", "f1"),
	    "candidates");
	assert_int_equal(json_array_size(list), 2);
	assert_true(json_is_true(json_object_get(json_array_get(list, 0), "suitable")));
	assert_true(json_is_false(json_object_get(json_array_get(list, 1), "suitable")));
	world_done(w, CTL_VOLUME_CANDIDATES, "{s:s}", "name", "v");
	assert_int_equal(
	    world_code(w, CTL_VOLUME_CANDIDATES, "{s:s, s:s}", "name", "v", "from", "x"), -ENOENT);
	assert_int_equal(world_code(w, CTL_VOLUME_CANDIDATES, "{s:s}", "name", "x"), -ENOENT);
}

static void failing_interface_with_policy_auto_is_evacuated(void **state)
{
	struct world *w = *state;
	struct ctl_interface *f1;

	world_two_paths(w);
	world_done(w, CTL_INTERFACE_SET, "{s:s, s:s}", "name", "f1", "policy", "auto");
	f1 = ctl_find_interface(w->ctl, "f1");
	ctl_trouble_degraded(w->ctl, f1, "it smells");
	while (world_events(w, "change.done") == 0) {
		world_step(w);
	}
	assert_int_equal(world_events(w, "interface.degraded"), 1);
	assert_at_rest(w, "f2", "2");
}

static void failing_interface_with_policy_ask_is_only_said(void **state)
{
	struct world *w = *state;
	struct ctl_interface *f1;

	world_two_paths(w);
	f1 = ctl_find_interface(w->ctl, "f1");
	ctl_trouble_degraded(w->ctl, f1, "it smells");
	world_settle(w);
	assert_int_equal(world_events(w, "interface.degraded"), 1);
	assert_at_rest(w, "f1", "1");
	world_done(w, CTL_INTERFACE_SET, "{s:s, s:s}", "name", "f1", "policy", "off");
	ctl_trouble_degraded(w->ctl, f1, "it smells");
	assert_int_equal(world_events(w, "interface.degraded"), 1);
}

static void balance_moves_one_of_two_volumes(void **state)
{
	struct world *w = *state;
	json_t *moves;

	world_two_paths(w);
	world_done(w, CTL_VOLUME_DELETE, "{s:s}", "name", "v");
	for (int i = 0; i < 2; i++) {
		world_done(w, CTL_VOLUME_CREATE, "{s:s, s:i, s:[{s:s, s:i}], s:s}", "name",
		    i == 0 ? "v" : "u", "size", 65536, "on", "lu", "a", "offset", 65536 * i, "via",
		    "f1");
	}
	moves = json_object_get(
	    world_done(w, CTL_INTERFACE_BALANCE, "{s:b, s:s}", "dry_run", 1, "kind", "file"),
	    "moves");
	assert_int_equal(json_array_size(moves), 1);
	assert_int_equal(w->ctl->nr_changes, 0);
	moves = json_object_get(world_done(w, CTL_INTERFACE_BALANCE, "{}"), "moves");
	assert_int_equal(json_array_size(moves), 1);
	while (world_events(w, "change.done") == 0) {
		world_step(w);
	}
	moves = json_object_get(world_done(w, CTL_INTERFACE_BALANCE, "{}"), "moves");
	assert_int_equal(json_array_size(moves), 0);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, world_setup, world_teardown)
	const struct CMUnitTest tests[] = {
	    TEST(volume_moves_and_is_there_after_a_restart),
	    TEST(change_that_makes_no_sense_is_refused),
	    TEST(path_of_a_change_in_progress_stays),
	    TEST(path_that_is_being_removed_is_no_destination),
	    TEST(one_change_at_a_time_on_a_volume),
	    TEST(cancelled_change_leaves_the_volume_where_it_is),
	    TEST(destination_that_reads_other_data_is_refused),
	    TEST(destination_that_does_not_answer_is_left),
	    TEST(unfinished_change_that_was_prepared_is_aborted),
	    TEST(unfinished_change_that_was_committed_is_done),
	    TEST(change_that_ended_but_was_not_tidied_up_is),
	    TEST(change_that_names_what_is_not_there_is_said_and_removed),
	    TEST(candidates_are_those_that_reach_the_lu),
	    TEST(failing_interface_with_policy_auto_is_evacuated),
	    TEST(failing_interface_with_policy_ask_is_only_said),
	    TEST(balance_moves_one_of_two_volumes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
