/*
 * An io_target in memory for tests of what stands above targets: completes inside the call, at the
 * end of the turn, or when told to; fails what it is told to fail; counts what it sees.
 *
 * Thread rule: created and freed on the control loop; submissions on the reactors; the knobs
 * before the first request, or in a manual group.
 */
#pragma once

#include "io/target.h"
#include "reactor/group.h"

enum memtarget_mode {
	MEMTARGET_INLINE, /* completes inside the call */
	MEMTARGET_LATER,  /* at the end of the turn */
	MEMTARGET_HELD,	  /* when memtarget_resume() says so */
};

struct memtarget {
	struct io_target target;
	struct reactor_group *group;
	unsigned char *bytes; /* NULL: reads as zeros, forgets writes */
	enum memtarget_mode mode;
	int fail_status[IO_OP_COUNT];	    /* what the operation ends with; 0 = it works */
	_Atomic uint64_t seen[IO_OP_COUNT]; /* submissions */
	_Atomic uint64_t longest;	    /* bytes of the longest READ or WRITE */
	_Atomic uint32_t last_flags;
	_Atomic unsigned held; /* under way */
	struct memtarget_channel *mem_channels;
};

/* memory: false makes a target without content. Limits: 512-byte blocks, everything supported;
 * change them in t->target.limits before use. NULL when memory is out. */
struct memtarget *memtarget_new(struct reactor_group *group, uint64_t size, bool memory);
void memtarget_free(struct memtarget *t);
/* Completes what is held, on its reactors, and goes on in the given mode. */
void memtarget_resume(struct memtarget *t, enum memtarget_mode mode);
