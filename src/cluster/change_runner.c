#include "cluster/change_runner.h"

#include <stdio.h>
#include <stdlib.h>

/* An input that waits for its turn: nothing is stepped from within an output. */
struct pending {
	struct list link;
	enum change_side side;
	struct coordinator_input coordinator;
	struct participant_input participant;
	char reason[CHANGE_REASON_MAX]; /* what done.reason points to */
};

struct change_runner {
	struct reactor *control;
	const struct change_runner_ops *ops;
	void *owner;
	struct coordinator coordinator;
	struct participant participant;
	struct change_node node; /* the one participant */
	struct change_output items[CHANGE_OUTPUTS_MAX(1)];
	struct change_outputs outputs;
	struct reactor_timer coordinator_timer;
	struct reactor_timer participant_timer;
	struct reactor_deferred work;
	struct list pending;
	struct change_spec spec;
	struct change_record record; /* of an unfinished change; state NONE = a new one */
	bool begun;
	bool coordinator_ended;
	bool participant_ended;
	bool ended_said;
};

static struct pending *push(struct change_runner *r, enum change_side side)
{
	struct pending *p = calloc(1, sizeof(*p));

	sluice_assert(p != NULL);
	p->side = side;
	list_append(&r->pending, &p->link);
	reactor_defer(r->control, &r->work);
	return p;
}

static void send_message(
    struct change_runner *r, enum change_side from, const struct change_message *m)
{
	struct pending *p;

	if (from == CHANGE_SIDE_COORDINATOR) {
		p = push(r, CHANGE_SIDE_PARTICIPANT);
		p->participant.kind = PARTICIPANT_IN_MESSAGE;
		p->participant.message = *m;
	} else {
		p = push(r, CHANGE_SIDE_COORDINATOR);
		p->coordinator.kind = COORDINATOR_IN_MESSAGE;
		p->coordinator.node = 0;
		p->coordinator.message = *m;
	}
}

static void set_timer(struct change_runner *r, enum change_side side, uint64_t at_ns)
{
	struct reactor_timer *t =
	    side == CHANGE_SIDE_COORDINATOR ? &r->coordinator_timer : &r->participant_timer;
	uint64_t now = reactor_clock_ns();

	if (at_ns == CHANGE_TIMER_OFF) {
		reactor_timer_cancel(r->control, t);
	} else {
		reactor_timer_arm(r->control, t, at_ns > now ? at_ns - now : 0);
	}
}

static void carry_out(struct change_runner *r, enum change_side side, const struct change_output *o)
{
	switch (o->kind) {
	case CHANGE_OUT_SEND:
		send_message(r, side, &o->message);
		break;
	case CHANGE_OUT_STORE:
		r->ops->store(r->owner, side, &o->store);
		break;
	case CHANGE_OUT_TIMER:
		set_timer(r, side, o->timer_ns);
		break;
	case CHANGE_OUT_ACTION:
		r->ops->action(r->owner, o->action, o->token);
		break;
	case CHANGE_OUT_STATE:
		r->ops->state(r->owner);
		break;
	case CHANGE_OUT_SAY:
		r->ops->say(r->owner, o->text);
		break;
	case CHANGE_OUT_ENDED:
		if (side == CHANGE_SIDE_COORDINATOR) {
			r->coordinator_ended = true;
		} else {
			r->participant_ended = true;
		}
		break;
	}
}

/* The machines write into one list, which is empty again before the next step. */
static void carry_all_out(struct change_runner *r, enum change_side side)
{
	for (unsigned i = 0; i < r->outputs.count; i++) {
		carry_out(r, side, &r->outputs.items[i]);
	}
	r->outputs.count = 0;
}

static void begin(struct change_runner *r)
{
	uint64_t now = reactor_clock_ns();

	r->begun = true;
	if (r->record.state == CHANGE_RECORD_NONE) {
		participant_init(&r->participant, &r->spec);
		coordinator_start(&r->coordinator, &r->spec, &r->node, 1, now, &r->outputs);
	} else {
		participant_rejoin(&r->participant, &r->spec, &r->record, now, &r->outputs);
		carry_all_out(r, CHANGE_SIDE_PARTICIPANT);
		coordinator_recover(
		    &r->coordinator, &r->spec, &r->node, 1, &r->record, now, &r->outputs);
	}
	carry_all_out(r, CHANGE_SIDE_COORDINATOR);
}

/* A change that the store refused at once never reached the participant: it has nothing to end. */
static bool both_ended(const struct change_runner *r)
{
	return r->coordinator_ended &&
	       (r->participant_ended || r->participant.state == PARTICIPANT_IDLE);
}

static void run(struct reactor_deferred *d)
{
	struct change_runner *r = container_of(d, struct change_runner, work);
	struct list *link;

	if (!r->begun) {
		begin(r);
	}
	while ((link = list_pop(&r->pending)) != NULL) {
		struct pending *p = list_entry(link, struct pending, link);

		if (p->side == CHANGE_SIDE_COORDINATOR) {
			coordinator_step(
			    &r->coordinator, &p->coordinator, reactor_clock_ns(), &r->outputs);
		} else {
			participant_step(
			    &r->participant, &p->participant, reactor_clock_ns(), &r->outputs);
		}
		carry_all_out(r, p->side);
		free(p);
	}
	if (both_ended(r) && !r->ended_said) {
		r->ended_said = true;
		r->ops->ended(r->owner);
	}
}

static void coordinator_time(struct reactor_timer *t)
{
	struct change_runner *r = container_of(t, struct change_runner, coordinator_timer);

	push(r, CHANGE_SIDE_COORDINATOR)->coordinator.kind = COORDINATOR_IN_TIMER;
}

static void participant_time(struct reactor_timer *t)
{
	struct change_runner *r = container_of(t, struct change_runner, participant_timer);

	push(r, CHANGE_SIDE_PARTICIPANT)->participant.kind = PARTICIPANT_IN_TIMER;
}

struct change_runner *change_runner_new(struct reactor *control, const struct change_spec *spec,
    const struct change_record *record, const struct change_runner_ops *ops, void *owner)
{
	struct change_runner *r = calloc(1, sizeof(*r));

	sluice_assert(r != NULL);
	r->control = control;
	r->ops = ops;
	r->owner = owner;
	r->spec = *spec;
	r->record = record != NULL ? *record : (struct change_record){0};
	r->outputs = (struct change_outputs){.items = r->items, .max = ARRAY_SIZE(r->items)};
	list_init(&r->pending);
	reactor_timer_init(&r->coordinator_timer, coordinator_time);
	reactor_timer_init(&r->participant_timer, participant_time);
	reactor_deferred_init(&r->work, run);
	reactor_defer(control, &r->work);
	return r;
}

void change_runner_free(struct change_runner *r)
{
	struct list *link;

	if (r == NULL) {
		return;
	}
	reactor_timer_cancel(r->control, &r->coordinator_timer);
	reactor_timer_cancel(r->control, &r->participant_timer);
	reactor_deferred_cancel(&r->work);
	while ((link = list_pop(&r->pending)) != NULL) {
		free(list_entry(link, struct pending, link));
	}
	free(r);
}

void change_runner_done(struct change_runner *r, const struct participant_done *done)
{
	struct pending *p = push(r, CHANGE_SIDE_PARTICIPANT);

	p->participant.kind = PARTICIPANT_IN_DONE;
	p->participant.done = *done;
	snprintf(p->reason, sizeof(p->reason), "%s", done->reason != NULL ? done->reason : "");
	p->participant.done.reason = p->reason;
}

void change_runner_stored(
    struct change_runner *r, enum change_side side, const struct change_store_answer *answer)
{
	struct pending *p = push(r, side);

	if (side == CHANGE_SIDE_COORDINATOR) {
		p->coordinator.kind = COORDINATOR_IN_STORE;
		p->coordinator.answer = *answer;
	} else {
		p->participant.kind = PARTICIPANT_IN_STORE;
		p->participant.answer = *answer;
	}
}

void change_runner_cancel(struct change_runner *r)
{
	push(r, CHANGE_SIDE_COORDINATOR)->coordinator.kind = COORDINATOR_IN_CANCEL;
}

const struct coordinator *change_runner_coordinator(const struct change_runner *r)
{
	return &r->coordinator;
}

const struct change_node *change_runner_node(const struct change_runner *r)
{
	return &r->node;
}

const struct participant *change_runner_participant(const struct change_runner *r)
{
	return &r->participant;
}
