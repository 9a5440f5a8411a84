/*
 * Fingerprints: the proof that two sessions lead to the same data where the kind offers no
 * identity, and the probe that one session can be read at all. The first and the last block, blocks
 * chosen by a generator seeded from the kernel, and the places that were written last are read, all
 * at once, through exactly the sessions in question.
 *
 * Thread rule: control loop.
 */
#pragma once

#include "lu/private.h"

struct fingerprint_params {
	struct carrier *a;
	struct carrier *b; /* NULL: only read a */
	bool quiet;	   /* nobody writes: one difference is proof */
	uint64_t timeout_ns;
	/* Once, never inside fingerprint_start(); NULL = all right; -ESTALE = they differ. */
	void (*done)(void *ctx, const struct error *err);
	void *ctx;
};

struct fingerprint;
/* -ENOMEM. */
int fingerprint_start(
    struct lu *lu, const struct fingerprint_params *params, struct fingerprint **ret_fingerprint);
/* done() does not come any more. NULL is fine. */
void fingerprint_cancel(struct fingerprint *f);
