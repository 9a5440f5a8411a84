/*
 * A byte range [offset, offset + length). Every range in the tree has offset + length <=
 * UINT64_MAX; what comes from outside is checked with range_valid() first. Pure, any thread.
 */
#pragma once

#include "base/macros.h"

struct range {
	uint64_t offset; /* bytes */
	uint64_t length; /* bytes */
};

static inline bool range_valid(uint64_t offset, uint64_t length)
{
	return offset + length >= offset;
}

static inline uint64_t range_end(struct range r)
{
	return r.offset + r.length;
}

static inline bool range_overlaps(struct range a, struct range b)
{
	return a.offset < range_end(b) && b.offset < range_end(a);
}

static inline bool range_contains(struct range outer, struct range inner)
{
	return inner.offset >= outer.offset && range_end(inner) <= range_end(outer);
}
