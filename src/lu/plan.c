#include "lu/plan.h"

#include <errno.h>
#include <stdlib.h>

#include "lu/private.h"

struct plan_route {
	struct route_channel *channels;
	struct carrier *use;
	struct carrier *other;
	enum route_mode mode;
};

struct plan {
	struct doubt_set *doubts;
	size_t nr_doubts;
	struct carrier **carriers;
	size_t nr_carriers;
	size_t nr_routes;
	struct plan_route routes[];
};

static void plan_free(struct plan *plan)
{
	if (plan != NULL) {
		doubt_set_free(plan->doubts);
		free(plan->carriers);
		free(plan);
	}
}

/* -- drawing -- */

static size_t list_length(const struct list *head)
{
	size_t n = 0;

	list_for_each (pos, head) {
		n++;
	}
	return n;
}

static bool carrier_in_doubt(const struct carrier *k)
{
	return k->step >= CARRIER_CLOSED && !k->fenced;
}

/* Like list_doubts(), n entries being there already. */
static size_t list_channel_doubts(
    const struct carrier_channel *cc, struct doubt *out, size_t room, size_t n)
{
	static const struct doubt everything = {{0, UINT64_MAX}, 0};
	const struct doubt *doubts = cc->doubt_all ? &everything : cc->doubts;
	size_t nr = cc->doubt_all ? 1 : cc->nr_doubts;

	for (size_t i = 0; i < nr && n + i < room; i++) {
		out[n + i] = doubts[i];
	}
	return n + nr;
}

/* Writes at most room entries; returns how many there are. */
static size_t list_doubts(const struct lu *lu, struct doubt *out, size_t room)
{
	size_t n = 0;

	list_for_each (pos, &lu->carriers) {
		struct carrier *k = list_entry(pos, struct carrier, link);

		for (unsigned i = 0; carrier_in_doubt(k) && i < lu->group->nr_data; i++) {
			n = list_channel_doubts(&k->channels[i], out, room, n);
		}
	}
	return n;
}

static int draw_doubts(struct lu *lu, struct plan *plan)
{
	size_t n = list_doubts(lu, NULL, 0);
	struct doubt *doubts = NULL;
	int rc;

	if (n > 0 && (doubts = calloc(n, sizeof(*doubts))) == NULL) {
		return -ENOMEM;
	}
	list_doubts(lu, doubts, n);
	rc = doubt_set_new(doubts, n, &plan->doubts);
	plan->nr_doubts = n;
	free(doubts);
	return rc;
}

static int draw_carriers(struct lu *lu, struct plan *plan)
{
	size_t n = list_length(&lu->carriers);

	plan->carriers = calloc(n + 1, sizeof(struct carrier *));
	if (plan->carriers == NULL) {
		return -ENOMEM;
	}
	list_for_each (pos, &lu->carriers) {
		struct carrier *k = list_entry(pos, struct carrier, link);

		if (carrier_usable(k)) {
			plan->carriers[plan->nr_carriers++] = k;
		}
	}
	return 0;
}

static void draw_routes(struct lu *lu, struct plan *plan)
{
	list_for_each (pos, &lu->routes) {
		struct lu_route *r = list_entry(pos, struct lu_route, link);

		route_choose(r);
		plan->routes[plan->nr_routes++] = (struct plan_route){
		    .channels = r->channels,
		    .use = r->active,
		    .other = route_other(r),
		    .mode = r->mode == ROUTE_CARRY && r->next != NULL ? ROUTE_PAUSE : r->mode,
		};
	}
}

static struct plan *draw(struct lu *lu)
{
	size_t n = list_length(&lu->routes);
	struct plan *plan = calloc(1, sizeof(*plan) + n * sizeof(plan->routes[0]));

	if (plan == NULL) {
		return NULL;
	}
	if (draw_carriers(lu, plan) != 0 || draw_doubts(lu, plan) != 0) {
		plan_free(plan);
		return NULL;
	}
	draw_routes(lu, plan);
	return plan;
}

/* -- publishing -- */

/* Data reactor. The plan is not replaced before all reactors have been here. */
static void on_reactor(struct reactor_broadcast *b, unsigned index)
{
	struct publisher *p = container_of(b, struct publisher, broadcast);
	struct lu *lu = container_of(p, struct lu, publisher);
	const struct plan *plan = p->plan;

	for (size_t i = 0; i < plan->nr_carriers; i++) {
		carrier_channel_scan(
		    &plan->carriers[i]->channels[index], lu->options.io_timeout_ns);
	}
	for (size_t i = 0; i < plan->nr_routes; i++) {
		const struct plan_route *r = &plan->routes[i];
		struct route_orders orders = {
		    .use = r->use != NULL ? &r->use->channels[index] : NULL,
		    .other = r->other != NULL ? &r->other->channels[index] : NULL,
		    .doubts = plan->doubts,
		    .mode = r->mode,
		};

		route_channel_obey(&r->channels[index], &orders);
	}
	for (size_t i = 0; i < plan->nr_routes; i++) {
		route_channel_kick(&plan->routes[i].channels[index]);
	}
}

static void on_done(struct reactor_broadcast *b)
{
	struct publisher *p = container_of(b, struct publisher, broadcast);
	struct lu *lu = container_of(p, struct lu, publisher);
	uint64_t number = p->number;

	p->running = false;
	plan_free(p->old_plan);
	p->old_plan = NULL;
	list_for_each_safe (pos, &lu->carriers) {
		carrier_plan_done(list_entry(pos, struct carrier, link), number);
	}
	list_for_each_safe (pos, &lu->routes) {
		route_plan_done(list_entry(pos, struct lu_route, link), number);
	}
	list_for_each_safe (pos, &lu->leaving_routes) {
		route_plan_done(list_entry(pos, struct lu_route, link), number);
	}
	publish_now(lu);
	lu_check_freed(lu);
}

void publish_now(struct lu *lu)
{
	struct publisher *p = &lu->publisher;
	struct plan *plan;

	if (p->running || !p->wanted) {
		return;
	}
	plan = draw(lu);
	if (plan == NULL) {
		return;
	}
	p->old_plan = p->plan;
	p->plan = plan;
	p->number++;
	p->running = true;
	p->wanted = false;
	reactor_broadcast_start(&p->broadcast, on_reactor, on_done);
}

static void deferred_publish(struct reactor_deferred *d)
{
	publish_now(container_of(d, struct lu, publisher.deferred));
}

uint64_t publish(struct lu *lu)
{
	lu->publisher.wanted = true;
	reactor_defer(lu_control(lu), &lu->publisher.deferred);
	return lu->publisher.number + 1;
}

const struct doubt_set *plan_doubts(const struct publisher *p)
{
	return p->plan != NULL ? p->plan->doubts : NULL;
}

size_t plan_doubt_count(const struct publisher *p)
{
	return p->plan != NULL ? p->plan->nr_doubts : 0;
}

int publisher_init(struct publisher *p, struct reactor_group *group)
{
	*p = (struct publisher){0};
	reactor_deferred_init(&p->deferred, deferred_publish);
	return reactor_broadcast_init(&p->broadcast, group);
}

void publisher_fini(struct publisher *p)
{
	sluice_assert(!p->running);
	reactor_deferred_cancel(&p->deferred);
	plan_free(p->plan);
	reactor_broadcast_fini(&p->broadcast);
}
