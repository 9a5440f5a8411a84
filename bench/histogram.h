/*
 * Latencies in buckets of at most 1.6 % width, from nanoseconds to hours. Pure, owned by its
 * caller.
 */
#pragma once

#include <stdint.h>

#define HISTOGRAM_SUB_BITS 6
#define HISTOGRAM_BUCKETS ((64 - HISTOGRAM_SUB_BITS + 1) << HISTOGRAM_SUB_BITS)

struct histogram {
	uint64_t count;
	uint64_t max; /* exact */
	uint64_t bucket[HISTOGRAM_BUCKETS];
};

void histogram_add(struct histogram *h, uint64_t value);
/* The middle of the bucket below which the fraction lies, e.g. 0.99; 0 when there is none. */
uint64_t histogram_quantile(const struct histogram *h, double fraction);
