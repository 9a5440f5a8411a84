/* Time, chance, and the queue of events. */
#include "sim.h"

#include <stdarg.h>
#include <string.h>

#define START_NS (40 * NS_PER_MS)
#define SAFETY_NS (4 * NS_PER_S)
#define LIVENESS_NS (60 * NS_PER_S)

const char *sim_plant_name(enum sim_plant plant)
{
	static const char *const names[] = {
#define X(name, text) text,
	    SIM_PLANTS(X)
#undef X
	};

	return plant < SIM_PLANT_COUNT ? names[plant] : "?";
}

void sim_fail(struct sim *sim, const char *fmt, ...)
{
	va_list ap;

	if (sim->failed) {
		return;
	}
	sim->failed = true;
	va_start(ap, fmt);
	vsnprintf(sim->failure, sizeof(sim->failure), fmt, ap);
	va_end(ap);
	sim_trace(sim, "BROKEN: %s", sim->failure);
}

void sim_trace(struct sim *sim, const char *fmt, ...)
{
	va_list ap;

	if (sim->plan.trace == NULL) {
		return;
	}
	fprintf(sim->plan.trace, "%10.3f ms  ", (double)sim->now / (double)NS_PER_MS);
	va_start(ap, fmt);
	vfprintf(sim->plan.trace, fmt, ap);
	va_end(ap);
	fputc('\n', sim->plan.trace);
}

uint64_t sim_delay(struct sim *sim, uint64_t low, uint64_t high)
{
	return sim->plan.quiet ? low : low + prng_below(&sim->prng, high - low + 1);
}

bool sim_chance(struct sim *sim, unsigned percent)
{
	return !sim->plan.quiet && !sim->calm && prng_below(&sim->prng, 100) < percent;
}

/* -- the heap ------------------------------------------------------------------------------------- */

static bool earlier(const struct sim_event *a, const struct sim_event *b)
{
	return a->at != b->at ? a->at < b->at : a->seq < b->seq;
}

/* events holds the payload in place; order is a heap of indexes into it. */
static void swap_order(struct sim *sim, unsigned i, unsigned j)
{
	unsigned t = sim->order[i];

	sim->order[i] = sim->order[j];
	sim->order[j] = t;
}

static bool before(const struct sim *sim, unsigned i, unsigned j)
{
	return earlier(&sim->events[sim->order[i]], &sim->events[sim->order[j]]);
}

static void sift_up(struct sim *sim, unsigned i)
{
	while (i > 0 && before(sim, i, (i - 1) / 2)) {
		swap_order(sim, i, (i - 1) / 2);
		i = (i - 1) / 2;
	}
}

static void sift_down(struct sim *sim, unsigned i)
{
	for (;;) {
		unsigned least = i;

		for (unsigned child = 2 * i + 1; child <= 2 * i + 2; child++) {
			if (child < sim->nr_events && before(sim, child, least)) {
				least = child;
			}
		}
		if (least == i) {
			return;
		}
		swap_order(sim, i, least);
		i = least;
	}
}

struct sim_event *sim_schedule(
    struct sim *sim, enum sim_event_kind kind, unsigned node, uint64_t delay)
{
	struct sim_event *e;

	sluice_assert(sim->nr_events < SIM_EVENTS_MAX);
	e = &sim->events[sim->order[sim->nr_events]];
	memset(e, 0, sizeof(*e));
	e->at = sim->now + delay;
	e->seq = ++sim->seq;
	e->kind = kind;
	e->node = node;
	e->incarnation = sim->nodes[node].incarnation;
	sift_up(sim, sim->nr_events++);
	return e;
}

static struct sim_event pop(struct sim *sim)
{
	struct sim_event e = sim->events[sim->order[0]];

	sim->nr_events--;
	swap_order(sim, 0, sim->nr_events);
	sift_down(sim, 0);
	return e;
}

/* -- the run ---------------------------------------------------------------------------------------- */

static void calm_down(struct sim *sim)
{
	sim_trace(sim, "-- faults end: everything must finish --");
	sim->calm = true;
	sim->started = true; /* or its node was down when it should have begun */
	sim->store_down_until = 0;
	for (unsigned i = 0; i < sim->plan.nodes; i++) {
		sim_gate_heal(sim, i);
	}
}

static void happen(struct sim *sim, struct sim_event *e)
{
	switch (e->kind) {
	case SIM_EV_STORE_APPLY:
		sim_store_apply(sim, e);
		break;
	case SIM_EV_IO_DONE:
		sim_io_done(sim, e->node, e->client, e->number);
		break;
	case SIM_EV_CLIENT:
		sim_client_event(sim, e->node, e->client);
		break;
	case SIM_EV_FREEZE:
		sim_trace(sim, "node %u: freezes", e->node);
		sim->nodes[e->node].frozen_until = sim->now + e->number;
		break;
	case SIM_EV_STORE_DOWN:
		sim_trace(sim, "store: away");
		sim->store_down_until = sim->now + e->number;
		break;
	case SIM_EV_PATH_DIES:
		sim_trace(sim, "node %u: the old path dies", e->node);
		sim->nodes[e->node].old_path_dead = true;
		break;
	case SIM_EV_CALM:
		calm_down(sim);
		break;
	case SIM_EV_START:
		sim->started = true;
		sim_node_event(sim, e);
		break;
	case SIM_EV_MESSAGE:
	case SIM_EV_STORE_ANSWER:
	case SIM_EV_ACTION_DONE:
	case SIM_EV_COORD_TIMER:
	case SIM_EV_PART_TIMER:
	case SIM_EV_OPEN:
	case SIM_EV_CRASH:
	case SIM_EV_TAKEOVER:
	case SIM_EV_CANCEL:
		sim_node_event(sim, e);
		break;
	}
}

static bool of_the_world(enum sim_event_kind kind)
{
	return kind == SIM_EV_STORE_APPLY || kind == SIM_EV_STORE_DOWN || kind == SIM_EV_CALM ||
	       kind == SIM_EV_CRASH || kind == SIM_EV_FREEZE || kind == SIM_EV_PATH_DIES ||
	       kind == SIM_EV_TAKEOVER;
}

/* A frozen node does nothing; what it would have done comes when it thaws. */
static void thaw_later(struct sim *sim, const struct sim_event *e)
{
	struct sim_event *again =
	    sim_schedule(sim, e->kind, e->node, sim->nodes[e->node].frozen_until - sim->now);
	uint64_t at = again->at;
	uint64_t seq = again->seq;

	*again = *e;
	again->at = at;
	again->seq = seq;
}

static void one_event(struct sim *sim)
{
	struct sim_event e = pop(sim);
	struct sim_node *n = &sim->nodes[e.node];

	sim->now = e.at;
	if (e.incarnation != UINT32_MAX && e.incarnation != n->incarnation) {
		return;
	}
	if (!of_the_world(e.kind) && sim->now < n->frozen_until) {
		thaw_later(sim, &e);
		return;
	}
	if (!n->open && e.kind != SIM_EV_OPEN && !of_the_world(e.kind)) {
		return;
	}
	happen(sim, &e);
	check_i3_event(sim);
}

static void plan_random_faults(struct sim *sim)
{
	struct prng *p = &sim->prng;

	for (unsigned i = 0; i < sim->plan.nodes; i++) {
		unsigned crashes = (unsigned)prng_below(p, 100);

		for (unsigned k = 0; crashes < 30 && k <= crashes / 15; k++) {
			sim_schedule(sim, SIM_EV_CRASH, i, prng_below(p, SAFETY_NS))->incarnation =
			    UINT32_MAX;
		}
		if (prng_below(p, 100) < 10 && sim->plan.nodes > 1) {
			struct sim_event *e =
			    sim_schedule(sim, SIM_EV_FREEZE, i, prng_below(p, SAFETY_NS / 2));

			e->incarnation = UINT32_MAX;
			e->number = prng_below(p, 3 * NS_PER_S);
		}
	}
	for (unsigned k = (unsigned)prng_below(p, 5); k > 2; k--) {
		struct sim_event *e =
		    sim_schedule(sim, SIM_EV_STORE_DOWN, 0, prng_below(p, SAFETY_NS));

		e->incarnation = UINT32_MAX;
		e->number = prng_below(p, 2 * NS_PER_S);
	}
}

/* Most runs have little go wrong: a fault is found where the rest works. */
static void draw_plan(struct sim *sim)
{
	static const enum change_action may_fail[] = {CHANGE_ACT_BUILD, CHANGE_ACT_CHECK_QUIET,
	    CHANGE_ACT_PUBLISH_NEW, CHANGE_ACT_VERIFY, CHANGE_ACT_PUBLISH_OLD};
	struct prng *p = &sim->prng;
	struct sim_plan *plan = &sim->plan;

	plan->same_data = prng_below(p, 2) == 0;
	plan->old_path_slow = prng_below(p, 100) < 20;
	plan->old_path_dies = plan->same_data && prng_below(p, 100) < 20;
	plan->fate_node = (unsigned)prng_below(p, plan->nodes);
	for (size_t i = 0; i < ARRAY_SIZE(may_fail); i++) {
		uint64_t dice = prng_below(p, 100);

		plan->fate[may_fail[i]] = dice < 80 ? SIM_OK : dice < 92 ? SIM_FAILS : SIM_HANGS;
	}
	if (prng_below(p, 100) < 8) {
		plan->cancel_at_ns = START_NS + prng_below(p, 40 * NS_PER_MS);
	}
}

static void set_up(struct sim *sim)
{
	struct sim_plan *plan = &sim->plan;

	prng_seed(&sim->prng, plan->seed);
	for (unsigned i = 0; i < SIM_EVENTS_MAX; i++) {
		sim->order[i] = i;
	}
	if (!plan->quiet) {
		draw_plan(sim);
	}
	sim->spec = (struct change_spec){.id = SIM_CHANGE_ID,
	    .generation = 4,
	    .same_data = plan->same_data,
	    .policy = change_policy_default};
	sim->spec.policy.prepare_ns = 3 * NS_PER_S;
	sim->spec.policy.backoff_ns = 200 * NS_PER_MS;
	sluice_assert(change_policy_check(&sim->spec.policy) == 0);
	sim->record.generation = sim->spec.generation;
	for (unsigned i = 0; i < plan->nodes; i++) {
		sim_node_start(sim, i);
		sim_schedule(sim, SIM_EV_TAKEOVER, i, 200 * NS_PER_MS)->incarnation = UINT32_MAX;
	}
	sim_schedule(sim, SIM_EV_START, 0, START_NS);
	sim_schedule(sim, SIM_EV_CALM, 0, SAFETY_NS)->incarnation = UINT32_MAX;
	if (plan->old_path_dies) {
		sim_schedule(sim, SIM_EV_PATH_DIES, plan->fate_node, START_NS - 10 * NS_PER_MS);
	}
	if (plan->cancel_at_ns != 0) {
		sim_schedule(sim, SIM_EV_CANCEL, 0, plan->cancel_at_ns);
	}
	if (plan->store_down_ns != 0) {
		struct sim_event *e =
		    sim_schedule(sim, SIM_EV_STORE_DOWN, 0, plan->store_down_at_ns);

		e->incarnation = UINT32_MAX;
		e->number = plan->store_down_ns;
	}
	if (!plan->quiet) {
		plan_random_faults(sim);
	}
}

bool sim_run(struct sim *sim, const struct sim_plan *plan)
{
	memset(sim, 0, offsetof(struct sim, events));
	sim->plan = *plan;
	set_up(sim);
	while (!sim->failed && sim->nr_events > 0 && sim->now < LIVENESS_NS) {
		one_event(sim);
		if (!sim->stopping && check_change_over(sim)) {
			sim->stopping = true;
		}
		if (sim->stopping && check_requests_over(sim)) {
			break;
		}
	}
	check_end(sim);
	return !sim->failed;
}
