#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "volume/face_io.h"

/* What a face without any target promises. */
static const struct io_limits no_target_limits = {
    .block_size = 512,
    .preferred_size = 4096,
    .max_transfer = 32u << 20,
    .max_iov = 1024,
    .memory_alignment = 1,
    .discard_granularity = 512,
    .write_zeroes = true,
    .fua = true,
    .block_status = true,
    .coherent = true,
};

static int check_extent(
    uint64_t volume_size, const struct face_extent *e, uint64_t end_before, struct error *err)
{
	uint32_t block = e->target != NULL ? e->target->limits.block_size : 512;

	if (e->length == 0 || !range_valid(e->offset, e->length) ||
	    e->offset + e->length > volume_size) {
		return error_set(err, -EINVAL,
		    "extent %" PRIu64 "+%" PRIu64 " is empty or leaves the volume of %" PRIu64
		    " bytes",
		    e->offset, e->length, volume_size);
	}
	if (e->offset < end_before) {
		return error_set(err, -EINVAL,
		    "extent %" PRIu64 "+%" PRIu64 " overlaps the one before it", e->offset,
		    e->length);
	}
	if (e->target != NULL && (!range_valid(e->target_offset, e->length) ||
				     e->target_offset + e->length > e->target->size)) {
		return error_set(err, -EINVAL,
		    "extent %" PRIu64 "+%" PRIu64 " leaves its LU: offset %" PRIu64 " of %" PRIu64
		    " bytes",
		    e->offset, e->length, e->target_offset, e->target->size);
	}
	if (!IS_ALIGNED(e->offset | e->length | e->target_offset, block)) {
		return error_set(err, -EINVAL,
		    "extent %" PRIu64 "+%" PRIu64 " at %" PRIu64
		    " is not a multiple of the block size %" PRIu32,
		    e->offset, e->length, e->target_offset, block);
	}
	return 0;
}

static void add_target(struct face *f, struct io_target *target)
{
	if (target == NULL) {
		return;
	}
	for (size_t i = 0; i < f->nr_targets; i++) {
		if (f->targets[i] == target) {
			return;
		}
	}
	if (f->nr_targets == 0) {
		f->limits = target->limits;
	} else {
		io_limits_merge(&f->limits, &target->limits);
	}
	f->targets[f->nr_targets++] = target;
}

int face_new(uint64_t volume_size, uint64_t generation, const struct face_extent *extents,
    size_t nr_extents, struct face **ret_face, struct error *err)
{
	uint64_t end = 0;
	struct face *f;

	for (size_t i = 0; i < nr_extents; i++) {
		int rc = check_extent(volume_size, &extents[i], end, err);

		if (rc != 0) {
			return rc;
		}
		end = extents[i].offset + extents[i].length;
	}
	f = calloc(1, sizeof(*f) + nr_extents * sizeof(f->extents[0]));
	if (f == NULL || (f->targets = calloc(nr_extents + 1, sizeof(*f->targets))) == NULL) {
		free(f);
		return error_set(err, -ENOMEM, "out of memory");
	}
	f->generation = generation;
	f->volume_size = volume_size;
	f->limits = no_target_limits;
	f->nr_extents = nr_extents;
	for (size_t i = 0; i < nr_extents; i++) {
		f->extents[i] = extents[i];
		add_target(f, extents[i].target);
	}
	*ret_face = f;
	return 0;
}

void face_free(struct face *f)
{
	if (f != NULL) {
		free(f->targets);
		free(f);
	}
}

uint64_t face_generation(const struct face *f)
{
	return f->generation;
}

size_t face_extent_count(const struct face *f)
{
	return f->nr_extents;
}

const struct face_extent *face_extent(const struct face *f, size_t i)
{
	return &f->extents[i];
}

const struct io_limits *face_limits(const struct face *f)
{
	return &f->limits;
}

/* The first extent that ends after offset; nr_extents when there is none. */
static size_t find_extent(const struct face *f, uint64_t offset)
{
	size_t low = 0;
	size_t high = f->nr_extents;

	while (low < high) {
		size_t mid = low + (high - low) / 2;

		if (f->extents[mid].offset + f->extents[mid].length <= offset) {
			low = mid + 1;
		} else {
			high = mid;
		}
	}
	return low;
}

struct face_piece face_lookup(const struct face *f, uint64_t offset)
{
	size_t i = find_extent(f, offset);
	const struct face_extent *e;
	uint64_t into;

	if (i == f->nr_extents) {
		return (struct face_piece){.length = f->volume_size - offset};
	}
	e = &f->extents[i];
	if (offset < e->offset) {
		return (struct face_piece){.length = e->offset - offset};
	}
	into = offset - e->offset;
	return (struct face_piece){
	    .target = e->target,
	    .target_offset = e->target_offset + into,
	    .length = e->length - into,
	};
}
