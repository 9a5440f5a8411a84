/*
 * A change of a volume in the control plane: the record that people see, and what it does
 * (switch_path.c). For src/ctl only; control loop.
 *
 * A volume has its routes and its face (`own`); a change makes the `other` ones. Normally `own` is
 * the old side and `other` the new one; for a change that was found committed after a restart it is
 * the other way round, because the volume was opened with what the store says.
 */
#pragma once

#include "cluster/change_runner.h"
#include "ctl/ctl_private.h"

enum { CHANGES_KEPT = 1000 };

/* One LU of the volume that moves. */
struct change_leg {
	struct ctl_change *change;
	struct ctl_lu *lu;
	struct ctl_path *from; /* NULL: the path is gone */
	struct ctl_path *to;
	bool taking_back;
};

struct ctl_change {
	struct list link; /* ctl.changes */
	struct ctl *ctl;
	uint64_t id;
	char kind[16];
	char volume_name[CTL_NAME_MAX];
	char from_name[CTL_NAME_MAX];
	char to_name[CTL_NAME_MAX];
	bool take_network_id;
	char started[CTL_TIME_LEN];
	json_t *final; /* what is shown once it is over; NULL while it runs */

	/* While it runs. */
	struct ctl_volume *volume;
	struct ctl_interface *from;
	struct ctl_interface *to;
	struct change_spec spec;
	struct change_runner *runner;
	struct change_leg *legs;
	size_t nr_legs;
	bool own_is_new;
	bool recovered; /* found in the store at the start, not asked for now */
	struct list other_routes;
	struct face *other_face;
	struct volume_hold *hold;
	struct change_call *hold_call; /* the HOLD action that waits for the drain */
	bool dropped;		       /* one side is gone: nothing is built any more */
	uint64_t publish_token;	       /* the latest PUBLISH_... */
	bool id_moved;
	bool flush_new;	      /* the old path could not flush */
	char network_id[256]; /* what moves */
	char replaced_network_id
	    [256];	    /* what the destination had before, and has again after a return */
	json_t *old_record; /* of the volume, without and with the change */
	json_t *new_record;
	unsigned calls; /* local actions that have not called back yet */
	bool runner_ended;
	void (*ended)(void *ctx, struct ctl_change *c);
	void *ended_ctx;
};

/* switch_path.c: what the runner asks for. */
void change_act(void *owner, enum change_action action, uint64_t token);
/* change_store.c: what the runner wants written or read. */
void change_store(void *owner, enum change_side side, const struct change_store_request *request);
/*
 * Ends a change that a daemon before this one left, with the record that was found. Its volume is
 * loaded, its exports are not open yet. -EBADMSG: its description does not fit the objects.
 */
int ctl_change_recover(
    struct ctl *ctl, uint64_t id, const struct change_record *record, struct error *err);
/* Appends the volume's legs that use `from`; the number of them. */
size_t change_find_legs(struct ctl_change *c);
/* A local action has called back: perhaps the last thing that the end waited for. */
void change_call_ended(struct ctl_change *c);
/* NONE for a text that is no state. */
enum change_record_state change_record_parse(const char *text);
/* The prefix of the keys of the change's record: /change/ID/ */
const char *change_record_prefix(char *buf, uint64_t id);
