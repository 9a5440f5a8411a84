/*
 * The one list of operations: everything that must treat every operation (the gate, bounds checks,
 * statistics, tests) is generated from it, so that a new operation cannot be forgotten.
 *
 *   X(NAME, "text", payload, changes, ranged)
 *
 * payload: IO_PAYLOAD_NONE, IO_PAYLOAD_IN (target fills iov) or IO_PAYLOAD_OUT (target reads iov).
 * changes: 1 if it may change what a later read returns.
 * ranged:  1 if offset and length say what it touches, 0 if it touches the whole target.
 */
#pragma once

#define IO_OPS(X)                                                                                  \
	X(READ, "read", IO_PAYLOAD_IN, 0, 1)                                                       \
	X(WRITE, "write", IO_PAYLOAD_OUT, 1, 1)                                                    \
	X(FLUSH, "flush", IO_PAYLOAD_NONE, 0, 0)                                                   \
	X(DISCARD, "discard", IO_PAYLOAD_NONE, 1, 1)                                               \
	X(WRITE_ZEROES, "write-zeroes", IO_PAYLOAD_NONE, 1, 1)                                     \
	X(BLOCK_STATUS, "block-status", IO_PAYLOAD_NONE, 0, 1)
