#include "io/target.h"

void io_limits_merge(struct io_limits *into, const struct io_limits *other)
{
	into->block_size = MAX(into->block_size, other->block_size);
	into->preferred_size = MAX(into->preferred_size, other->preferred_size);
	into->max_transfer = MIN(into->max_transfer, other->max_transfer);
	into->max_iov = MIN(into->max_iov, other->max_iov);
	into->memory_alignment = MAX(into->memory_alignment, other->memory_alignment);
	into->discard_granularity =
	    into->discard_granularity == 0 || other->discard_granularity == 0
		? 0
		: MAX(into->discard_granularity, other->discard_granularity);
	into->write_zeroes = into->write_zeroes && other->write_zeroes;
	into->fua = into->fua && other->fua;
	into->flush = into->flush || other->flush;
	into->read_only = into->read_only || other->read_only;
	into->block_status = into->block_status && other->block_status;
	into->coherent = into->coherent && other->coherent;
}
