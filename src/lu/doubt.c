#include "lu/doubt.h"

#include <errno.h>
#include <stdlib.h>

struct doubt_entry {
	struct doubt doubt;
	uint64_t reach; /* largest end of all entries up to this one */
};

struct doubt_set {
	size_t nr;
	struct doubt_entry entries[]; /* by offset */
};

static int by_offset(const void *a, const void *b)
{
	const struct doubt_entry *x = a;
	const struct doubt_entry *y = b;

	return (x->doubt.range.offset > y->doubt.range.offset) -
	       (x->doubt.range.offset < y->doubt.range.offset);
}

int doubt_set_new(const struct doubt *doubts, size_t nr, struct doubt_set **ret_set)
{
	struct doubt_set *set = NULL;
	uint64_t reach = 0;

	if (nr > 0) {
		set = calloc(1, sizeof(*set) + nr * sizeof(set->entries[0]));
		if (set == NULL) {
			return -ENOMEM;
		}
		set->nr = nr;
		for (size_t i = 0; i < nr; i++) {
			set->entries[i].doubt = doubts[i];
		}
		qsort(set->entries, nr, sizeof(set->entries[0]), by_offset);
		for (size_t i = 0; i < nr; i++) {
			reach = MAX(reach, range_end(set->entries[i].doubt.range));
			set->entries[i].reach = reach;
		}
	}
	*ret_set = set;
	return 0;
}

void doubt_set_free(struct doubt_set *set)
{
	free(set);
}

/* Number of entries that begin before offset. */
static size_t entries_before(const struct doubt_set *set, uint64_t offset)
{
	size_t low = 0;
	size_t high = set->nr;

	while (low < high) {
		size_t mid = low + (high - low) / 2;

		if (set->entries[mid].doubt.range.offset < offset) {
			low = mid + 1;
		} else {
			high = mid;
		}
	}
	return low;
}

bool doubt_set_blocks(const struct doubt_set *set, struct range range, uint64_t own)
{
	if (set == NULL) {
		return false;
	}
	for (size_t i = entries_before(set, range_end(range)); i > 0; i--) {
		const struct doubt_entry *e = &set->entries[i - 1];

		if (e->reach <= range.offset) {
			return false;
		}
		if (range_overlaps(e->doubt.range, range) && (own == 0 || e->doubt.name != own)) {
			return true;
		}
	}
	return false;
}
