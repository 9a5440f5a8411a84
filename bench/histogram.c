#include "histogram.h"

#define SUB (1u << HISTOGRAM_SUB_BITS)

/* Values below SUB have a bucket each; above, SUB buckets per power of two. */
static unsigned bucket_of(uint64_t value)
{
	unsigned shift;

	if (value < SUB) {
		return (unsigned)value;
	}
	shift = 63 - (unsigned)__builtin_clzll(value) - HISTOGRAM_SUB_BITS;
	return ((shift + 1) << HISTOGRAM_SUB_BITS) + (unsigned)((value >> shift) - SUB);
}

static uint64_t bucket_middle(unsigned bucket)
{
	unsigned shift;

	if (bucket < SUB) {
		return bucket;
	}
	shift = (bucket >> HISTOGRAM_SUB_BITS) - 1;
	return ((uint64_t)(SUB + (bucket & (SUB - 1))) << shift) + ((1ull << shift) >> 1);
}

void histogram_add(struct histogram *h, uint64_t value)
{
	h->count++;
	h->bucket[bucket_of(value)]++;
	if (value > h->max) {
		h->max = value;
	}
}

uint64_t histogram_quantile(const struct histogram *h, double fraction)
{
	uint64_t wanted = (uint64_t)((double)h->count * fraction);
	uint64_t seen = 0;

	for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++) {
		seen += h->bucket[i];
		if (h->bucket[i] > 0 && seen > wanted) {
			return bucket_middle(i) < h->max ? bucket_middle(i) : h->max;
		}
	}
	return h->max;
}
