/*
 * Looking requests up in a face. A face never changes once it is made, so any reactor may read it
 * while it is published.
 *
 * Thread rule: any data reactor.
 */
#pragma once

#include "volume/volume.h"

struct face {
	uint64_t generation;
	uint64_t volume_size;
	struct io_limits limits;
	size_t nr_extents;
	size_t nr_targets;
	struct io_target **targets; /* the distinct ones: whom a FLUSH goes to */
	struct face_extent extents[];
};

/*
 * What lies at offset (< volume_size): a piece that starts there, with its target (NULL: unmapped)
 * and the offset in it, and how far it goes.
 */
struct face_piece {
	struct io_target *target;
	uint64_t target_offset;
	uint64_t length; /* > 0 */
};
struct face_piece face_lookup(const struct face *f, uint64_t offset);
