/*
 * The named runs. Thread rule: pure.
 */
#pragma once

#include "sim.h"

struct sim_scenario {
	const char *name;
	struct sim_plan plan;
};
extern const struct sim_scenario sim_scenarios[];
extern const unsigned sim_nr_scenarios;

/* The whole plan of the i-th: quiet, with a seed for its clients. */
void sim_scenario_plan(unsigned i, struct sim_plan *ret_plan);
