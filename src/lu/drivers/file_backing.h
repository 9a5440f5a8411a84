/*
 * An open file or block device, and what there is to know about it: size, alignment, identity. All
 * of it may block; the file driver runs it on a worker.
 *
 * Thread rule: any thread.
 */
#pragma once

#include "base/error.h"

struct file_lock;

struct file_backing_params {
	const char *path;
	uint64_t size; /* bytes; regular file: create it, or extend it, to this; 0 = as it is */
	bool device;
	bool read_only;
};

struct file_backing {
	int fd;			   /* -1 = not open */
	bool direct;		   /* O_DIRECT; else the page cache is in between */
	bool in_memory;		   /* tmpfs: a transfer is a copy, there is nothing to wait for */
	uint64_t size;		   /* bytes, rounded down to the block size */
	uint32_t block_size;	   /* bytes: of offsets and lengths */
	uint32_t memory_alignment; /* bytes */
	uint32_t preferred_size;   /* bytes */
	uint32_t discard_granularity; /* bytes, 0 = none */
	char identity[128];	      /* "file:DEV:INODE", "device:WWN", "device:MAJOR:MINOR" */
	struct file_lock *lock;
};

int file_backing_open(
    const struct file_backing_params *params, struct file_backing *ret_backing, struct error *err);
/* Safe on one that is not open. */
void file_backing_close(struct file_backing *b);
