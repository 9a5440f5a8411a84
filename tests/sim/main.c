/*
 * sluice-sim: runs the simulator.
 *
 *   --seeds N [--nodes K] [--seed FIRST]   N random runs; ends at the first that breaks an invariant
 *   --seed S --nodes K --trace             one of them again, readable
 *   --scenario NAME [--trace]              a named run (all without a name: --golden, --exhaustive)
 *   --exhaustive                           every named run, with a crash at every output
 *   --plants [--seeds N]                   every planted fault must be caught within N runs
 *   --golden DIR [--update]                the traces of the named runs against DIR/NAME.txt
 */
#include <errno.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>

#include "scenario.h"

static struct sim sim;

struct options {
	unsigned long seeds;
	unsigned long seed;
	unsigned nodes;
	bool trace;
	bool exhaustive;
	bool plants;
	bool update;
	const char *golden;
	const char *scenario;
	enum sim_plant plant;
};

static void report(const struct sim_plan *plan)
{
	fprintf(stderr, "seed %lu, nodes %u, commit %s: %s\n", (unsigned long)plan->seed,
	    plan->nodes, SLUICE_COMMIT, sim.failure);
	fprintf(stderr, "again: sluice-sim --seed %lu --nodes %u --trace\n",
	    (unsigned long)plan->seed, plan->nodes);
}

static int run_seeds(const struct options *o)
{
	unsigned long ends[CHANGE_RECORD_STATE_COUNT] = {0};
	unsigned long requests = 0;
	unsigned long held = 0;

	for (unsigned long i = 0; i < o->seeds; i++) {
		struct sim_plan plan = {.seed = o->seed + i,
		    .nodes = o->nodes,
		    .plant = o->plant,
		    .trace = o->trace ? stdout : NULL};

		if (!sim_run(&sim, &plan)) {
			report(&plan);
			return 1;
		}
		ends[sim.record.state]++;
		requests += sim.requests_done;
		held += sim.held_done;
	}
	printf("%lu seeds from %lu, %u nodes: %lu done, %lu rolled back, %lu aborted, %lu never "
	       "recorded; %lu requests, %lu of them held; all invariants kept\n",
	    o->seeds, o->seed, o->nodes, ends[CHANGE_RECORD_DONE], ends[CHANGE_RECORD_ROLLED_BACK],
	    ends[CHANGE_RECORD_ABORTED], ends[CHANGE_RECORD_NONE], requests, held);
	return 0;
}

static int run_exhaustive(void)
{
	unsigned long runs = 0;

	for (unsigned i = 0; i < sim_nr_scenarios; i++) {
		struct sim_plan plan;
		unsigned long outputs = 0;

		sim_scenario_plan(i, &plan);
		do {
			runs++;
			if (!sim_run(&sim, &plan)) {
				fprintf(stderr, "scenario %s, crash at output %lu: %s\n",
				    sim_scenarios[i].name, plan.crash_at, sim.failure);
				return 1;
			}
			outputs = MAX(outputs, sim.outputs);
			plan.crash_at++;
		} while (plan.crash_at <= outputs);
	}
	printf("%u scenarios, crashed at each of their outputs: %lu runs; all invariants kept\n",
	    sim_nr_scenarios, runs);
	return 0;
}

/* The run in which the checkers notice it; 0 = none does. */
static unsigned long catch_plant(enum sim_plant plant, unsigned nodes, unsigned long seeds)
{
	for (unsigned long i = 1; i <= seeds; i++) {
		struct sim_plan plan = {.seed = i, .nodes = nodes, .plant = plant};

		if (!sim_run(&sim, &plan)) {
			return i;
		}
	}
	return 0;
}

static int run_plants(const struct options *o)
{
	int status = 0;

	for (unsigned p = SIM_PLANT_NONE + 1; p < SIM_PLANT_COUNT; p++) {
		unsigned long at = catch_plant(p, o->nodes, o->seeds);

		if (at == 0) {
			status = 1;
			printf("%-32s NOT CAUGHT in %lu seeds\n", sim_plant_name(p), o->seeds);
		} else {
			printf(
			    "%-32s caught at seed %lu: %s\n", sim_plant_name(p), at, sim.failure);
		}
	}
	return status;
}

static char *read_file(const char *path)
{
	FILE *f = fopen(path, "r");
	char *text = NULL;
	size_t room = 0;
	ssize_t n;

	if (f == NULL) {
		return NULL;
	}
	n = getdelim(&text, &room, '\0', f);
	fclose(f);
	if (n < 0) {
		free(text);
		return NULL;
	}
	return text;
}

static int write_file(const char *path, const char *text)
{
	FILE *f = fopen(path, "w");

	if (f == NULL || fputs(text, f) < 0 || fclose(f) != 0) {
		perror(path);
		return 1;
	}
	return 0;
}

static int check_golden(const struct options *o, unsigned i)
{
	struct sim_plan plan;
	char path[4096];
	char *trace = NULL;
	char *expected;
	size_t length = 0;
	int status = 0;

	sim_scenario_plan(i, &plan);
	plan.trace = open_memstream(&trace, &length);
	if (plan.trace == NULL) {
		return 1;
	}
	if (!sim_run(&sim, &plan)) {
		fprintf(stderr, "scenario %s: %s\n", sim_scenarios[i].name, sim.failure);
		status = 1;
	}
	fclose(plan.trace);
	snprintf(path, sizeof(path), "%s/%s.txt", o->golden, sim_scenarios[i].name);
	expected = o->update ? NULL : read_file(path);
	if (o->update) {
		status |= write_file(path, trace);
	} else if (expected == NULL || strcmp(expected, trace) != 0) {
		fprintf(
		    stderr, "scenario %s differs from %s:\n%s", sim_scenarios[i].name, path, trace);
		status = 1;
	}
	free(expected);
	free(trace);
	return status;
}

static int run_golden(const struct options *o)
{
	int status = 0;

	for (unsigned i = 0; i < sim_nr_scenarios; i++) {
		status |= check_golden(o, i);
	}
	printf("%u traces %s\n", sim_nr_scenarios,
	    status == 0 ? "as expected" : "compared: see above");
	return status;
}

static int run_scenario(const struct options *o)
{
	for (unsigned i = 0; i < sim_nr_scenarios; i++) {
		struct sim_plan plan;

		if (strcmp(sim_scenarios[i].name, o->scenario) != 0) {
			continue;
		}
		sim_scenario_plan(i, &plan);
		plan.trace = o->trace ? stdout : NULL;
		plan.crash_at = o->seed > 1 ? o->seed : 0;
		if (!sim_run(&sim, &plan)) {
			fprintf(stderr, "%s: %s\n", o->scenario, sim.failure);
			return 1;
		}
		return 0;
	}
	fprintf(stderr, "no scenario %s\n", o->scenario);
	return 2;
}

static int usage(void)
{
	fprintf(stderr,
	    "usage: sluice-sim [--seeds N] [--seed S] [--nodes K] [--trace] [--plant NAME] "
	    "[--scenario NAME] [--exhaustive] [--plants] [--golden DIR [--update]]\n");
	return 2;
}

static bool parse_plant(const char *text, enum sim_plant *ret_plant)
{
	for (unsigned p = 0; p < SIM_PLANT_COUNT; p++) {
		if (strcmp(sim_plant_name(p), text) == 0) {
			*ret_plant = p;
			return true;
		}
	}
	return false;
}

static const struct option long_options[] = {
    {"seeds", required_argument, NULL, 'n'},
    {"seed", required_argument, NULL, 's'},
    {"nodes", required_argument, NULL, 'k'},
    {"trace", no_argument, NULL, 't'},
    {"plant", required_argument, NULL, 'p'},
    {"plants", no_argument, NULL, 'P'},
    {"exhaustive", no_argument, NULL, 'e'},
    {"scenario", required_argument, NULL, 'c'},
    {"golden", required_argument, NULL, 'g'},
    {"update", no_argument, NULL, 'u'},
    {0},
};

static bool parse(int argc, char **argv, struct options *o)
{
	bool ok = true;
	int c;

	while ((c = getopt_long(argc, argv, "", long_options, NULL)) != -1) {
		if (c == 'n') {
			o->seeds = strtoul(optarg, NULL, 10);
		} else if (c == 's') {
			o->seed = strtoul(optarg, NULL, 10);
		} else if (c == 'k') {
			o->nodes = (unsigned)strtoul(optarg, NULL, 10);
		} else if (c == 't') {
			o->trace = true;
		} else if (c == 'p') {
			ok = ok && parse_plant(optarg, &o->plant);
		} else if (c == 'P') {
			o->plants = true;
		} else if (c == 'e') {
			o->exhaustive = true;
		} else if (c == 'c') {
			o->scenario = optarg;
		} else if (c == 'g') {
			o->golden = optarg;
		} else if (c == 'u') {
			o->update = true;
		} else {
			ok = false;
		}
	}
	return ok && optind == argc && o->nodes >= 1 && o->nodes <= SIM_NODES_MAX;
}

int main(int argc, char **argv)
{
	struct options o = {.seeds = 1, .seed = 1, .nodes = 1};

	if (!parse(argc, argv, &o)) {
		return usage();
	}
	if (o.golden != NULL) {
		return run_golden(&o);
	}
	if (o.exhaustive) {
		return run_exhaustive();
	}
	if (o.plants) {
		return run_plants(&o);
	}
	return o.scenario != NULL ? run_scenario(&o) : run_seeds(&o);
}
