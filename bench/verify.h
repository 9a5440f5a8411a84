/*
 * What a block should hold: a pattern of its number and of how often it was written. A block is
 * used by one request at a time, so that there is never a doubt.
 *
 * Thread rule: one thread.
 */
#pragma once

#include "base/macros.h"

struct verify {
	uint32_t block; /* bytes */
	uint64_t nr_blocks;
	uint32_t *generation; /* [nr_blocks], 0 = not written yet */
	bool *busy;	      /* [nr_blocks] */
	uint64_t mismatches;  /* pieces of data that were not as they should be */
};

/* -ENOMEM. */
int verify_init(struct verify *v, uint32_t block, uint64_t nr_blocks);
void verify_fini(struct verify *v);
/* The first block from wanted on that no request uses, marked as used. */
uint64_t verify_take(struct verify *v, uint64_t wanted);
void verify_put(struct verify *v, uint64_t block);
/* Begins the next generation of a block that was taken; out has the size of a block. */
void verify_fill(struct verify *v, uint64_t block, void *out);
/* data NULL: zeros. */
void verify_check(struct verify *v, uint64_t offset, const void *data, uint32_t len);
