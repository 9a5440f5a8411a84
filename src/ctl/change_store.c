/*
 * The record of a change in the store: /change/ID/state and /change/ID/epoch, which transactions
 * compare, beside the volume's /generations/NAME and /volumes/NAME, and /changes/ID, which people
 * read.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ctl/change.h"

/* A store that does not answer is one whose answer is not known: the machines ask again. */
#define STORE_PATIENCE_NS (1 * NS_PER_S)

struct store_call {
	struct ctl_change *change;
	struct reactor_timer patience;
	bool given_up; /* answered already, by the timer */
	enum change_side side;
	struct change_store_request request;
	struct change_store_answer answer;
};

const char *change_record_prefix(char *buf, uint64_t id)
{
	snprintf(buf, CTL_KEY_MAX, "/change/%020" PRIu64 "/", id);
	return buf;
}

static const char *record_key(char *buf, uint64_t id, const char *what)
{
	snprintf(buf, CTL_KEY_MAX, "/change/%020" PRIu64 "/%s", id, what);
	return buf;
}

static void answer(struct store_call *call)
{
	struct ctl_change *c = call->change;

	reactor_timer_cancel(c->ctl->group->control, &call->patience);
	if (!call->given_up) {
		change_runner_stored(c->runner, call->side, &call->answer);
	}
	free(call);
	change_call_ended(c);
}

static void give_up(struct reactor_timer *t)
{
	struct store_call *call = container_of(t, struct store_call, patience);
	struct change_store_answer unknown = {
	    .token = call->request.token, .result = CHANGE_STORE_UNKNOWN};

	call->given_up = true;
	change_runner_stored(call->change->runner, call->side, &unknown);
}

/* -- reading -- */

static void item_text(const struct store_item *item, char text[32])
{
	snprintf(text, 32, "%.*s", (int)item->value_len, (const char *)item->value);
}

static void got_generation(void *ctx, const struct store_item *items, size_t nr_items,
    uint64_t revision, const struct error *err)
{
	struct store_call *call = ctx;
	char text[32];

	if (err != NULL || call->answer.result == CHANGE_STORE_UNKNOWN) {
		call->answer.result = CHANGE_STORE_UNKNOWN;
	} else if (nr_items == 1) {
		item_text(&items[0], text);
		call->answer.record.generation = strtoull(text, NULL, 10);
	}
	answer(call);
}

enum change_record_state change_record_parse(const char *text)
{
	for (int s = 0; s < CHANGE_RECORD_STATE_COUNT; s++) {
		if (strcmp(text, change_record_state_name((enum change_record_state)s)) == 0) {
			return (enum change_record_state)s;
		}
	}
	return CHANGE_RECORD_NONE;
}

static void got_record(void *ctx, const struct store_item *items, size_t nr_items,
    uint64_t revision, const struct error *err)
{
	struct store_call *call = ctx;

	call->answer.result = err != NULL ? CHANGE_STORE_UNKNOWN : CHANGE_STORE_OK;
	for (size_t i = 0; i < nr_items; i++) {
		char text[32];

		item_text(&items[i], text);
		if (strstr(items[i].key, "/state") != NULL) {
			call->answer.record.state = change_record_parse(text);
		} else {
			call->answer.record.epoch = strtoull(text, NULL, 10);
		}
	}
}

static void read_record(struct store_call *call)
{
	struct ctl_change *c = call->change;
	char key[CTL_KEY_MAX];

	/* Answers come in the order of the calls. */
	store_range(c->ctl->store, change_record_prefix(key, c->id), got_record, call);
	store_get(c->ctl->store, ctl_key(key, "generations", c->volume_name), got_generation, call);
}

/* -- writing -- */

static void fill_answer(struct store_call *call)
{
	const struct change_store_request *q = &call->request;
	struct change_record *record = &call->answer.record;
	const struct coordinator *co = change_runner_coordinator(call->change->runner);

	record->state = q->set;
	record->epoch = q->set_epoch != 0      ? q->set_epoch
			: q->expect_epoch != 0 ? q->expect_epoch
					       : co->record_epoch;
	record->generation = q->set_generation != 0	 ? q->set_generation
			     : q->expect_generation != 0 ? q->expect_generation
							 : call->change->volume->generation;
}

static void written(void *ctx, bool succeeded, uint64_t revision, const struct error *err)
{
	struct store_call *call = ctx;
	struct ctl_change *c = call->change;

	if (err != NULL) {
		call->answer.result = err->code == -EAGAIN || err->code == -ETIMEDOUT
					  ? CHANGE_STORE_UNKNOWN
					  : CHANGE_STORE_FAILED;
	} else if (!succeeded) {
		call->answer.result = CHANGE_STORE_CONFLICT;
	} else {
		call->answer.result = CHANGE_STORE_OK;
		fill_answer(call);
		if (call->request.set_generation != 0) {
			c->volume->generation = call->request.set_generation;
		}
	}
	answer(call);
}

static json_t *interface_with_id(const struct ctl_interface *i, const char *id)
{
	json_t *record = ctl_interface_record(i);

	json_object_set_new(record, "network_id", json_string(id));
	return record;
}

/* What COMMIT and ROLLBACK set beside the record: the map, and whose the network ID is. */
static void put_map(struct ctl_change *c, struct ctl_txn *t, bool new_map)
{
	char key[CTL_KEY_MAX];

	ctl_txn_put(t, ctl_key(key, "volumes", c->volume_name),
	    json_incref(new_map ? c->new_record : c->old_record));
	if (c->take_network_id) {
		ctl_txn_put(t, ctl_key(key, "interfaces", c->from_name),
		    interface_with_id(c->from, new_map ? "" : c->network_id));
		ctl_txn_put(t, ctl_key(key, "interfaces", c->to_name),
		    interface_with_id(c->to, new_map ? c->network_id : c->replaced_network_id));
	}
}

static void write_record(struct store_call *call)
{
	const struct change_store_request *q = &call->request;
	struct ctl_change *c = call->change;
	char key[CTL_KEY_MAX];
	char number[32];
	json_t *shown = ctl_change_json(c);
	struct ctl_txn t;

	ctl_txn_init(&t);
	if (q->expect == CHANGE_RECORD_NONE) {
		ctl_txn_expect_absent(&t, record_key(key, c->id, "state"));
	} else {
		ctl_txn_expect_value(
		    &t, record_key(key, c->id, "state"), change_record_state_name(q->expect));
	}
	ctl_txn_put_text(&t, key, change_record_state_name(q->set));
	record_key(key, c->id, "epoch");
	if (q->expect_epoch != 0) {
		snprintf(number, sizeof(number), "%" PRIu64, q->expect_epoch);
		ctl_txn_expect_value(&t, key, number);
	}
	if (q->set_epoch != 0) {
		snprintf(number, sizeof(number), "%" PRIu64, q->set_epoch);
		ctl_txn_put_text(&t, key, number);
	}
	ctl_key(key, "generations", c->volume_name);
	if (q->expect_generation != 0) {
		snprintf(number, sizeof(number), "%" PRIu64, q->expect_generation);
		ctl_txn_expect_value(&t, key, number);
	}
	if (q->set_generation != 0) {
		snprintf(number, sizeof(number), "%" PRIu64, q->set_generation);
		ctl_txn_put_text(&t, key, number);
		put_map(c, &t, q->kind == CHANGE_STORE_COMMIT);
	}
	json_object_set_new(shown, "state", json_string(change_record_state_name(q->set)));
	ctl_txn_put(&t, ctl_key_id(key, "changes", c->id), shown);
	ctl_txn_send(c->ctl, &t, written, call);
}

void change_store(void *owner, enum change_side side, const struct change_store_request *request)
{
	struct ctl_change *c = owner;
	struct store_call *call = calloc(1, sizeof(*call));

	sluice_assert(call != NULL);
	call->change = c;
	call->side = side;
	call->request = *request;
	call->answer.token = request->token;
	c->calls++;
	reactor_timer_init(&call->patience, give_up);
	reactor_timer_arm(c->ctl->group->control, &call->patience, STORE_PATIENCE_NS);
	if (request->kind == CHANGE_STORE_READ) {
		read_record(call);
	} else {
		write_record(call);
	}
}
