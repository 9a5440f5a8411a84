/*
 * The writes in doubt of an LU: ranges that a broken session may still change. An immutable set, so
 * that all reactors can look at the same one; the control loop builds a new one for every change
 * and publishes it (plan.h).
 *
 * Thread rule: pure; making and freeing on the control loop, looking on any reactor.
 */
#pragma once

#include "base/range.h"

struct doubt {
	struct range range;
	uint64_t name; /* io->doubt of the request that is in doubt; 0 = nobody's */
};

struct doubt_set;

/* doubts are copied; no set (NULL) when nr is 0. -ENOMEM. */
int doubt_set_new(const struct doubt *doubts, size_t nr, struct doubt_set **ret_set);
void doubt_set_free(struct doubt_set *set);
/*
 * True when something in doubt overlaps range and is not the request called `own` itself (0 = a
 * request that was never in doubt). set may be NULL.
 */
bool doubt_set_blocks(const struct doubt_set *set, struct range range, uint64_t own);
