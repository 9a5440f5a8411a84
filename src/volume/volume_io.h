/*
 * The request side of a volume: its channels. A channel is a gate, the face that is active on this
 * reactor, and the means to split requests at the borders of extents.
 *
 * Thread rule: the data reactor of the channel.
 */
#pragma once

#include "volume/face_io.h"
#include "volume/gate.h"

struct volume_stock;

#define VOLUME_MAX_IOV 256 /* entries of one request: what a piece of a split request can carry */

struct volume_channel {
	struct io_channel channel; /* first */
	struct gate gate;
	unsigned index; /* data reactor */
	const struct face *face;

	/* Splitting: a fixed stock, so that the request path does not allocate. What finds none
	 * waits its turn. */
	struct volume_stock *stock;
	struct list idle_splits;
	struct list idle_pieces;
	struct list waiting; /* frames of requests that wait for a split, in order */
	struct list hungry;  /* splits that wait for a piece, in order */
};

/* Control loop, before any request. -ENOMEM. */
int volume_channel_init(struct volume_channel *vc, unsigned index, const struct face *face);
/* Control loop, after the last request. */
void volume_channel_fini(struct volume_channel *vc);
