/*
 * Events: numbers, replay, bound, and texts from outside.
 */
#include <string.h>

#include "world.h"

struct listener {
	struct events_listener l;
	unsigned n;
	uint64_t first;
	uint64_t last;
	bool in_order;
};

static void take_event(struct events_listener *l, uint64_t seq, const json_t *event)
{
	struct listener *x = container_of(l, struct listener, l);

	assert_int_equal(number_of(event, "seq"), seq);
	x->in_order = x->n == 0 || (x->in_order && seq == x->last + 1);
	x->first = x->n == 0 ? seq : x->first;
	x->last = seq;
	x->n++;
}

static bool listen_since(struct world *w, struct listener *x, uint64_t since)
{
	*x = (struct listener){.l.event = take_event};
	return events_listen(w->ctl, since, &x->l);
}

static void say(struct world *w, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		ctl_event(w->ctl, "info", "test.event", "x", NULL, "number %u", i);
	}
	world_settle(w);
}

static void events_are_replayed_from_a_number_and_then_live(void **state)
{
	struct world *w = *state;
	struct listener x;
	struct listener live;
	uint64_t before = w->ctl->last_event;

	say(w, 5);
	assert_true(listen_since(w, &x, before + 2));
	assert_true(listen_since(w, &live, UINT64_MAX));
	assert_int_equal(x.n, 3);
	assert_int_equal(x.first, before + 3);
	assert_int_equal(live.n, 0);
	say(w, 2);
	assert_int_equal(x.n, 5);
	assert_true(x.in_order);
	assert_int_equal(live.n, 2);
	events_unlisten(&x.l);
	events_unlisten(&live.l);
	say(w, 1);
	assert_int_equal(x.n, 5);
}

static void numbers_go_on_after_a_restart(void **state)
{
	struct world *w = *state;
	struct listener x;
	uint64_t last;

	say(w, 3);
	last = w->ctl->last_event;
	world_restart(w);
	assert_true(w->ctl->last_event > last);
	assert_true(listen_since(w, &x, last - 3));
	assert_true(x.in_order);
	assert_int_equal(x.last, w->ctl->last_event);
	events_unlisten(&x.l);
}

static void old_events_are_forgotten_and_that_is_said(void **state)
{
	struct world *w = *state;
	struct listener x;

	say(w, EVENTS_KEPT + 10);
	assert_int_equal(json_array_size(w->ctl->events), EVENTS_KEPT);
	assert_int_equal(world_keys(w, "/events/", NULL, 0), EVENTS_KEPT);
	assert_false(listen_since(w, &x, 1));
	assert_int_equal(x.n, EVENTS_KEPT);
	events_unlisten(&x.l);
}

/* Servers' error texts and peers' names end up in events. */
static void text_that_is_not_utf8_is_said_all_the_same(void **state)
{
	struct world *w = *state;
	char text[600];

	ctl_event(w->ctl, "warn", "test.bytes", "x\xff", NULL, "the server said \xc3\x28 \xff");
	memset(text, 'a', sizeof(text));
	for (size_t i = 500; i + 2 < sizeof(text); i += 2) {
		memcpy(text + i, "\xc3\xa4", 2);
	}
	text[sizeof(text) - 1] = '\0';
	ctl_event(w->ctl, "warn", "test.bytes", "x", NULL, "%s", text); /* cut amid a character */
	ctl_event(w->ctl, "warn", "test.bytes", "x", NULL, "b%s", text);
	world_settle(w);
	assert_int_equal(world_events(w, "test.bytes"), 3);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, world_setup, world_teardown)
	const struct CMUnitTest tests[] = {
	    TEST(events_are_replayed_from_a_number_and_then_live),
	    TEST(numbers_go_on_after_a_restart),
	    TEST(old_events_are_forgotten_and_that_is_said),
	    TEST(text_that_is_not_utf8_is_said_all_the_same),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
