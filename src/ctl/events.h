/*
 * Events: every life-cycle change and alert, with a sequence number that never repeats, kept in the
 * store (the newest EVENTS_KEPT of them) and pushed to those who listen.
 *
 * Thread rule: control loop.
 */
#pragma once

#include <jansson.h>

#include "base/list.h"
#include "ctl/ctl.h"

#define EVENTS_KEPT 4096

/*
 * JSON of an event: {"seq": 12, "time": "2026-01-31T12:00:00.123Z", "type": "path.up", "level":
 * "info|warn|error", "object": "a/if1", "message": "...", "data": {...}}
 * object: the name of what it is about; of a path LU/INTERFACE, of a change its volume.
 */
struct events_listener {
	struct list link;
	/* event is borrowed. Called for each event in order, from the one after `since` on. */
	void (*event)(struct events_listener *l, uint64_t seq, const json_t *event);
};
/*
 * First replays what is kept after `since` (inside the call), then live ones. since = UINT64_MAX:
 * live only. Returns false when older events than the kept ones were asked for and lost; the
 * listener then gets what there is.
 */
bool events_listen(struct ctl *ctl, uint64_t since, struct events_listener *l);
void events_unlisten(struct events_listener *l);
