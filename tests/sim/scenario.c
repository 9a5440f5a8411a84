/* Named runs without chance: each has a golden trace, and is crashed at every output. */
#include "scenario.h"

#include <string.h>

const struct sim_scenario sim_scenarios[] = {
    {"switch-path", {.nodes = 1, .same_data = true}},
    {"switch-path-on-three-nodes", {.nodes = 3, .same_data = true}},
    {"remap-on-two-nodes", {.nodes = 2}},
    {"build-fails", {.nodes = 1, .same_data = true, .fate[CHANGE_ACT_BUILD] = SIM_FAILS}},
    {"other-data-is-refused",
	{.nodes = 1, .same_data = true, .fate[CHANGE_ACT_CHECK_QUIET] = SIM_FAILS}},
    {"check-hangs", {.nodes = 1, .same_data = true, .fate[CHANGE_ACT_CHECK_QUIET] = SIM_HANGS}},
    {"publish-fails", {.nodes = 1, .fate[CHANGE_ACT_PUBLISH_NEW] = SIM_FAILS}},
    {"verify-fails", {.nodes = 1, .same_data = true, .fate[CHANGE_ACT_VERIFY] = SIM_FAILS}},
    {"verify-fails-on-one-of-three",
	{.nodes = 3, .fate_node = 2, .fate[CHANGE_ACT_VERIFY] = SIM_FAILS}},
    {"verify-hangs", {.nodes = 1, .same_data = true, .fate[CHANGE_ACT_VERIFY] = SIM_HANGS}},
    {"return-fails", {.nodes = 1,
			 .same_data = true,
			 .fate[CHANGE_ACT_VERIFY] = SIM_FAILS,
			 .fate[CHANGE_ACT_PUBLISH_OLD] = SIM_FAILS}},
    {"old-path-is-dead", {.nodes = 1, .same_data = true, .old_path_dies = true}},
    {"load-outlasts-the-drain", {.nodes = 2, .same_data = true, .old_path_slow = true}},
    {"cancelled", {.nodes = 1,
		      .same_data = true,
		      .fate[CHANGE_ACT_BUILD] = SIM_HANGS,
		      .cancel_at_ns = 90 * NS_PER_MS}},
    {"store-away-at-the-commit", {.nodes = 1,
				     .same_data = true,
				     .store_down_at_ns = 41 * NS_PER_MS,
				     .store_down_ns = 3 * NS_PER_S}},
};
const unsigned sim_nr_scenarios = ARRAY_SIZE(sim_scenarios);

void sim_scenario_plan(unsigned i, struct sim_plan *ret_plan)
{
	*ret_plan = sim_scenarios[i].plan;
	ret_plan->quiet = true;
	ret_plan->seed = 1;
}
