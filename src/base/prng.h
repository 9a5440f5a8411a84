/*
 * A small seeded generator (xoshiro256**, seeded by splitmix64) for simulation, sampling and
 * jitter: the same seed gives the same sequence on every machine. Not for secrets. Owned by its
 * caller, any thread.
 */
#pragma once

#include <stdint.h>

struct prng {
	uint64_t s[4];
};

void prng_seed(struct prng *p, uint64_t seed);
uint64_t prng_next(struct prng *p);
/* Uniform in [0, bound); bound > 0. */
uint64_t prng_below(struct prng *p, uint64_t bound);
